# Größe, 大きさ, 🐳
FROM a AS b
LABEL title="Größe 🐳" 名前=値
ENV GRUSS=hällo
RUN echo "ein Wort, zwei Wörter" && echo 🐳
CMD ["é", "\ud83d\udc33"]
