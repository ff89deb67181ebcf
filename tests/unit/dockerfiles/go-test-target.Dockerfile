FROM golang:1.24-alpine AS base
WORKDIR /w
COPY . .

FROM base AS test
RUN go vet ./... && go test -count=1 ./...

FROM base AS release
RUN go build -o /w/app

FROM alpine:3.22
COPY --from=release /w/app /usr/local/bin/app
HEALTHCHECK --interval=15s --timeout=2s --retries=4 CMD wget -qO- localhost:8080/ready || exit 1
CMD ["app"]
