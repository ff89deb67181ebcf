FROM a
RUN <<EOF

# kept: not a comment of the Dockerfile

	tab
   trailing   
EOF
# this one goes
RUN b
