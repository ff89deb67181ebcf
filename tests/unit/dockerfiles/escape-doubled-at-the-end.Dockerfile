FROM a
RUN echo \\
RUN next
RUN echo \\  
RUN after
