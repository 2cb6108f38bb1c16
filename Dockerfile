# kiln in a small image: `docker run -p 8080:8080 -v "$PWD:/models:ro" kiln serve /models/model.bpk --addr 0.0.0.0:8080 --allow-host '*'`
FROM rust:1.95-bookworm AS build
WORKDIR /kiln
COPY . .
RUN cargo build --locked --profile dist --bin kiln && strip target/dist/kiln

FROM debian:bookworm-slim
COPY --from=build /kiln/target/dist/kiln /usr/local/bin/kiln
COPY --from=build /kiln/LICENSE-MIT /kiln/LICENSE-APACHE /kiln/data/mnist/README.md /usr/local/share/doc/kiln/
RUN useradd --uid 10001 --create-home kiln
USER 10001
WORKDIR /home/kiln
EXPOSE 8080
# Of `kiln serve`; another command has no server and is not asked for its health: --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost:8080\\r\\nConnection: close\\r\\n\\r\\n' >&3 && grep -q '\"status\":\"ok\"' <&3"]
ENTRYPOINT ["kiln"]
CMD ["--help"]
