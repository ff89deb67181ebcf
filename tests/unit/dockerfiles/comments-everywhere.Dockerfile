# top
   # indented
	# with a tab
FROM a # is not a comment but words
#RUN never
RUN echo a # stays in the command
RUN echo '#' "#" \#
  # before an instruction
  RUN echo b
#
##
# COPY x \
RUN c
