FROM composer:2 AS vendor
WORKDIR /app
COPY composer.json composer.lock /app/
RUN composer install --no-dev --no-scripts --prefer-dist

FROM php:8.4-fpm-alpine
RUN docker-php-ext-install pdo_mysql opcache
COPY --from=vendor /app/vendor /var/www/vendor
COPY --chown=www-data . /var/www
VOLUME ["/var/www/storage", "/tmp/cache"]
