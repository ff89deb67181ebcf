FROM debian:13 AS cc
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc make libc6-dev \
 && rm -rf /var/lib/apt/lists/*
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.org/hello.tar.gz /src/
RUN cd /src && tar xf hello.tar.gz && ./configure --prefix=/usr && make DESTDIR=/stage install

FROM debian:13-slim
COPY --from=cc /stage/ /
CMD ["hello"]
