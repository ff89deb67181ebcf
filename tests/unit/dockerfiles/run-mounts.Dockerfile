FROM a AS other
FROM a
RUN --mount=type=cache,target=/c,id=one,sharing=private,uid=1000 true
RUN --mount=type=bind,from=other,source=/x,target=/y,rw true
RUN --mount=type=bind,from=0,target=/z true
RUN --mount=type=bind,from=docker.io/library/busybox:1,target=/bb true
RUN --mount=type=secret,id=token,required=true,env=TOKEN curl -H "A: $TOKEN" x
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc,mode=0400 npm ci
RUN --mount=type=ssh,id=default git clone git@example.org:a/b
RUN --mount=type=tmpfs,target=/t,size=64m make -C /t
