FROM a
CMD ['a', 'b']
CMD ["a", "b",]
CMD ["a" "b"]
ENTRYPOINT ["a", b]
ENTRYPOINT [a]
RUN [ "$X" = y ] && echo z
RUN [[ -f x ]]
VOLUME [/data]
CMD ["unclosed"
CMD ["bad \escape"]
