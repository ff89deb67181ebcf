FROM a
RUN <<EOF
one

two
EOF
COPY <<-X /x
	t
	X
RUN z
