FROM a
ENV A='b \
c' D=e
ENV F='#not a comment' G="#neither"
ENV H=$'x' I=\$J K=\"
