FROM a AS writer
COPY <<Dockerfile /nested/Dockerfile
# syntax=docker/dockerfile:1
FROM scratch
COPY . .
RUN <<EOF
inner
EOF
Dockerfile
FROM a
COPY --from=writer /nested /
