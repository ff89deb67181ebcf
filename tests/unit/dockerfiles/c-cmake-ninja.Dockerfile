FROM gcc:15 AS compile
ARG BUILD_TYPE=Release
COPY . /work
RUN cmake -S /work -B /b -G Ninja -DCMAKE_BUILD_TYPE=${BUILD_TYPE} && cmake --build /b
FROM compile AS check
RUN ctest --test-dir /b --output-on-failure
FROM gcr.io/distroless/cc
COPY --from=compile /b/prog /prog
ENTRYPOINT ["/prog"]
