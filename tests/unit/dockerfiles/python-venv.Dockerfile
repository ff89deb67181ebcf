FROM python:3.13-slim AS wheels
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip pip install -r /tmp/requirements.txt

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 web
COPY --from=wheels /opt/venv /opt/venv
COPY --chown=web:web app /app
WORKDIR /app
USER web
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "wsgi:app"]
