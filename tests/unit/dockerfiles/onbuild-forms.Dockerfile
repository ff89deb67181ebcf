FROM a AS template
ONBUILD ADD . /app
ONBUILD   RUN   make
ONBUILD COPY --chown=1:1 --from=b x y
ONBUILD ENV A=1 B="2 3"
ONBUILD ARG x=y
ONBUILD LABEL q=r
ONBUILD WORKDIR /w
onbuild entrypoint ["e"]
ONBUILD HEALTHCHECK NONE
FROM template
