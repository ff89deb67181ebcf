FROM a AS b
FROM a
COPY --from=b --chown=1000:1000 --chmod=u=rwX,go=rX --link /x /y
COPY --link --parents ./a/./b/c.txt ./d/e.txt /dst/
COPY --exclude=*.md --exclude=!README.md . .
COPY --from=nginx:1 /etc/nginx/nginx.conf /
COPY --chmod=755 --chown=$U:$G s t
COPY --link=false x y
COPY --from="b" 'x' y
