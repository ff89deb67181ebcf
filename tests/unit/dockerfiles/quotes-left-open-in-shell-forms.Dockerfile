FROM a
RUN echo "open
RUN echo it's
CMD echo "a' b
USER "x
WORKDIR it's
