FROM     a      AS     b
COPY   x	y     z/
ENV   A=1	B=2
ARG	N=1
RUN	tab	kept   inside
USER	u
