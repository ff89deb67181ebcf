FROM a
COPY <<EOF /etc/motd
Hello from ${IMAGE:-here}
EOF
COPY --chmod=755 --chown=0:0 <<"EOF" /usr/bin/start
#!/bin/sh
exec "$@"
EOF
ADD <<-EOF /x
	tabs go
	EOF
