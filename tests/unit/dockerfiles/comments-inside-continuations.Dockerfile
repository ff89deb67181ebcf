FROM a
RUN one && \
# at the margin
    two && \
    # indented
	# tabbed
    three && \
    #

    # last
    four
RUN five \
# and straight to the next
six
