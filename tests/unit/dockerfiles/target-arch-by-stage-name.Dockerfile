FROM alpine AS base-amd64
ENV SUFFIX=x64
FROM alpine AS base-arm64
ENV SUFFIX=aarch64
FROM base-${TARGETARCH} AS final
RUN echo "$SUFFIX"
