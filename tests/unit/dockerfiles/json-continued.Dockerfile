FROM a
CMD ["one", \
     "two", \
     # between
     "three"]
ENTRYPOINT [ \
  "sh" \
]
RUN ["a", "b\
c"]
