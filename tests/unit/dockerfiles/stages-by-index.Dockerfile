FROM alpine
RUN echo one > /one
FROM busybox
COPY --from=0 /one /two
FROM scratch
COPY --from=1 /two /three
COPY --from=0 /one /
