# a note
FROM a AS b
RUN one \
    two \

    # in between
    three

COPY --from=b x y
CMD ["x", "y"]
