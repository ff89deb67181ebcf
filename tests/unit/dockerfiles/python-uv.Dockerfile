FROM ghcr.io/astral-sh/uv:0.7 AS uv
FROM python:3.12-slim AS build
COPY --from=uv /uv /usr/local/bin/
WORKDIR /srv
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --frozen --no-dev
FROM python:3.12-slim
COPY --from=build /srv/.venv /srv/.venv
CMD ["/srv/.venv/bin/python", "-m", "srv"]
