FROM a
RUN -- --not-a-flag
COPY --link -- --weird-name /x
CMD -- x
