FROM maven:3.9-eclipse-temurin-21 AS package
WORKDIR /build
COPY pom.xml .
RUN --mount=type=cache,target=/root/.m2 mvn -B -q dependency:go-offline
COPY src src
RUN --mount=type=cache,target=/root/.m2 mvn -B -q -DskipTests package && \
    cp target/*.jar /build/app.jar

FROM eclipse-temurin:21-jre AS layers
WORKDIR /x
COPY --from=package /build/app.jar .
RUN java -Djarmode=tools -jar app.jar extract --layers --destination out

FROM eclipse-temurin:21-jre
COPY --from=layers /x/out/dependencies/ ./
COPY --from=layers /x/out/application/ ./
ENTRYPOINT ["java", "-XX:MaxRAMPercentage=75", "-jar", "app.jar"]
