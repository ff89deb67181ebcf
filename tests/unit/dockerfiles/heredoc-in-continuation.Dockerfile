FROM a
RUN --mount=type=cache,target=/c \
    # which shell
    <<EOF sh -x
echo one \
  two
EOF
COPY \
  <<a \
  <<b \
  /dst/
A
a
B
b
RUN true
