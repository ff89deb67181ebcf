FROM \
  a \
  AS \
  b
ENV \
  X=1
LABEL \
  a=b \
  c=d
