FROM alpine:3.22 AS fetch
ARG VERSION=1.2.3 ARCH=x86_64
RUN apk add --no-cache curl tar \
 && curl -fsSL "https://example.org/dl/tool-${VERSION}-${ARCH}.tgz" \
  | tar -xzC /usr/local --strip-components=1
FROM fetch AS verify
RUN tool --version | grep -F "${VERSION}"
FROM busybox:1.37
COPY --from=fetch /usr/local/bin/tool /bin/
