#syntax = docker/dockerfile:1
#  ESCAPE	=  `  
FROM a
RUN a `
 b
