FROM a
ONBUILD CMD ["x", "y"]
ONBUILD RUN ["a"]
HEALTHCHECK CMD ["curl", "-f", "http://localhost/"]
HEALTHCHECK CMD ['curl']
