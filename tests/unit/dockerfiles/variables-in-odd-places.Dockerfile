ARG V=1
FROM a:${V}
COPY $src/${file} ${dst:-/d}/
ADD ${url} /
WORKDIR $HOME/${sub:+x}
USER ${UID:-0}:${GID:-0}
EXPOSE ${PORT}
VOLUME ${DATA}
STOPSIGNAL $SIG
ENV X="${Y:?must be set}" Z=${W#pre} S=${T/a/b}
