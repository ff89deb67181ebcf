FROM rust:1.88 AS planner
WORKDIR /p
RUN cargo install cargo-chef --locked
COPY . .
RUN cargo chef prepare --recipe-path plan.json

FROM planner AS builder
RUN cargo chef cook --release --target x86_64-unknown-linux-musl --recipe-path plan.json
RUN cargo build --release --target x86_64-unknown-linux-musl \
 && strip target/x86_64-unknown-linux-musl/release/svc

FROM scratch
COPY --from=builder --chmod=0555 /p/target/x86_64-unknown-linux-musl/release/svc /svc
ENTRYPOINT ["/svc"]
