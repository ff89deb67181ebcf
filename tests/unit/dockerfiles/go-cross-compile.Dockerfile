# syntax=docker/dockerfile:1
ARG GO=1.24
FROM --platform=$BUILDPLATFORM golang:${GO}-bookworm AS build
ARG TARGETOS TARGETARCH TARGETVARIANT
WORKDIR /src
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=cache,target=/go/pkg/mod,sharing=locked \
    GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT} \
    go build -o /bin/tool .

FROM --platform=${TARGETPLATFORM:-linux/amd64} gcr.io/distroless/static-debian13:nonroot
COPY --link --from=build /bin/tool /bin/tool
CMD ["/bin/tool", "serve"]
