FROM a
RUN echo a\b \\ c \n
RUN echo x\\
RUN echo y \\\ z
RUN echo "a\
b"
