FROM a
COPY <<one.txt <<two.txt <<'three.txt' /dst/
first
one.txt
second
two.txt
third $x
three.txt
RUN <<A cat <<B
in a
A
in b
B
RUN 3<<X cat <&3
fd
X
