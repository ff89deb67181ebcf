FROM eclipse-temurin:21 AS jre
RUN jlink --add-modules java.base,java.logging \
          --strip-debug --no-man-pages --no-header-files \
          --compress zip-6 --output /jre
FROM debian:bookworm-slim
ENV JAVA_HOME=/opt/jre PATH="/opt/jre/bin:$PATH"
COPY --from=jre /jre $JAVA_HOME
CMD java -version
