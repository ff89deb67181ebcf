FROM elixir:1.18 AS rel
ENV MIX_ENV=prod
WORKDIR /a
COPY mix.exs mix.lock ./
RUN mix local.hex --force && mix deps.get --only $MIX_ENV
COPY lib lib
RUN mix release
FROM debian:trixie-slim
COPY --from=rel /a/_build/prod/rel/a /a
CMD ["/a/bin/a", "start"]
