# escape=`
FROM a
COPY x C:\y\
RUN dir `
    C:\
ENV P=C:\bin Q="say `"hi`"" R=a` b
RUN echo `` && echo \
