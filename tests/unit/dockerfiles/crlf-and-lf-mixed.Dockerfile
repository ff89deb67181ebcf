FROM a
RUN one \
  two \
  three
ENV A=b
RUN <<EOF
x
EOF
RUN <<EOF
y
EOF
