ARG NODE=22
FROM node:${NODE} AS workspace
WORKDIR /repo
COPY --parents package.json packages/*/package.json ./
RUN npm ci

FROM workspace AS ui
COPY packages/ui packages/ui
RUN npm run -w ui build

FROM workspace AS api
COPY --exclude=**/*.test.ts --exclude=docs packages/api packages/api
RUN npm run -w api build

FROM workspace AS docs
COPY docs docs
RUN npm run docs

FROM nginx AS web-image
COPY --from=ui /repo/packages/ui/dist /srv

FROM node:${NODE}-slim AS api-image
COPY --from=api /repo/packages/api/dist /srv
CMD ["node", "/srv/main.js"]
