FROM a
RUN <<EOF tee /out | grep x && true
x
EOF
RUN cat <<EOF > /file
text
EOF
