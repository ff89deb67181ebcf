FROM a
# escape=`
# syntax=x
RUN a \
 b
