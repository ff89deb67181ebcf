FROM node:22-alpine AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,target=/root/.npm npm ci --no-audit

FROM deps AS bundle
ENV NODE_ENV=production CI=1
COPY . .
RUN npm run build

FROM nginx:1.28-alpine
LABEL org.opencontainers.image.title="shop window" \
      org.opencontainers.image.licenses=MIT
COPY --from=bundle /app/dist /usr/share/nginx/html
COPY <<'CONF' /etc/nginx/conf.d/default.conf
server {
  listen 80;
  location / { try_files $uri /index.html; }
}
CONF
STOPSIGNAL SIGQUIT
