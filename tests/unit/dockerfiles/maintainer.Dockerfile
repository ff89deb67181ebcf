FROM a
MAINTAINER Jo Doe <jo@example.org>
MAINTAINER "Quoted, Inc."
