FROM a
RUN one \
# nothing follows
