FROM a
COPY --chown="a:b" x y
COPY --chown='a b' x y
RUN --mount=type=bind,target="/with space" ls
RUN --mount='type=cache,target=/q' ls
RUN --mount=type=cache,target=/e\ f ls
