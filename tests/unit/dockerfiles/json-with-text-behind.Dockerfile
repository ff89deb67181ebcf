FROM a
CMD ["a", "b"] and more
ENTRYPOINT ["x"]   
RUN ["a"] # no comment
