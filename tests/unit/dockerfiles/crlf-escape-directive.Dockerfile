# escape=`
FROM a AS b
# note
RUN one `
    two

ENV A=1 `
# in between
    B=2
CMD ["x"]
