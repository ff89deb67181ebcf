FROM a
# a comment that ends so \
RUN one
RUN two \
# inside, ends so \
three
