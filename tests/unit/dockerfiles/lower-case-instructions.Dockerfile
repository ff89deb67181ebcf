arg tag=3
from alpine:$tag
label a=b c="d e"
env k v with  gaps
workdir /x
user nobody
expose 80
volume /data
stopsignal 9
shell ["/bin/sh", "-ec"]
healthcheck none
onbuild run echo hi
entrypoint ["/bin/sh"]
cmd ["-c", "true"]
