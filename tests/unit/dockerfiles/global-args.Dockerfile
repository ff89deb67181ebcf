ARG REGISTRY=docker.io
ARG REPO=library IMAGE=alpine
ARG TAG
ARG QUOTED="two words" BARE= SINGLE='$not'
FROM ${REGISTRY}/${REPO}/${IMAGE}:${TAG:-latest}
ARG TAG
ARG REPO="other"
RUN echo "$TAG"
