FROM a
RUN \
  --mount=type=cache,target=/c \
  # the next is for apt
  --mount=type=cache,target=/d \

  apt-get update
COPY \
  --from=a \
  /x \
  /y
