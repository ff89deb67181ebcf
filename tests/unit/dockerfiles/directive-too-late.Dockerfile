# a plain comment
# escape=`
FROM a
RUN x \
    y
RUN z `
