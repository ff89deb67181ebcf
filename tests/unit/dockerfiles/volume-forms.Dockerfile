FROM a
VOLUME /a
VOLUME /a /b	/c
VOLUME ["/a b"]
VOLUME "/d e"
