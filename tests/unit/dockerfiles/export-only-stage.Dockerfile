FROM node:22 AS build
RUN npm run build
FROM scratch AS artifacts
COPY --from=build /app/dist /
FROM artifacts
