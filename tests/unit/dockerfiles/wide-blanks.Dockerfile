FROM a
RUN echo no　break
ENV A=x B=y
ARG p q
COPY a b c
　RUN x
