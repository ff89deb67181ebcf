FROM a
RU\
N echo sp\
lit
WORKDIR /long/\
path/\
here
EXPOSE 80\
 81
