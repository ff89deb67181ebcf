FROM --platform=linux/arm64 a AS arm
FROM --platform=$BUILDPLATFORM a AS build
FROM --platform=${TARGETPLATFORM} a:latest@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
FROM   --platform=linux/amd64    registry.example.org:5000/team/img:1.0   AS   spaced
