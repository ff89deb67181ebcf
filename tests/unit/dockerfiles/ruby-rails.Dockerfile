FROM ruby:3.4-slim AS base
WORKDIR /rails
ENV BUNDLE_WITHOUT="development:test" \
    BUNDLE_PATH=/bundle
FROM base AS gems
COPY Gemfile* ./
RUN bundle install -j"$(nproc)"
FROM base
COPY --from=gems $BUNDLE_PATH $BUNDLE_PATH
COPY . .
EXPOSE 3000
CMD ["./bin/rails", "server", "-b", "0.0.0.0"]
