FROM a
RUN echo $((1 << 3))
RUN cat <<<word
RUN echo "<<EOF"
RUN ["sh", "-c", "<<EOF"]
CMD cat <<EOF
RUN echo '<<EOF' \<\<EOF
ENV A="<<EOF"
