FROM a
RUN --network=none make test
RUN --network=host --security=insecure mount
RUN --security=sandbox --network=default --mount=type=tmpfs,target=/t true
