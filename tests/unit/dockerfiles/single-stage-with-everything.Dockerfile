# syntax=docker/dockerfile:1
ARG BASE=debian:13
FROM ${BASE} AS all
LABEL a=1
ENV B=2
ARG C=3
WORKDIR /w
ADD a.tar .
COPY b .
RUN c
SHELL ["sh", "-c"]
USER d
VOLUME /e
EXPOSE 1
STOPSIGNAL 2
HEALTHCHECK NONE
ONBUILD RUN f
ENTRYPOINT ["g"]
CMD ["h"]
