FROM a
RUN <<e.o-f_1
x
e.o-f_1
RUN <<'two words'
y
two words
RUN <<"a'b"
z
a'b
RUN <<E\OF
q
EOF
