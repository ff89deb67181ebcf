FROM debian:stable AS root
FROM root AS left
FROM root AS right
FROM left AS leaf
COPY --from=right /etc/hostname /h
FROM leaf
