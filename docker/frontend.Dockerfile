# A front end. The context is a folder with the finished program, which docker/build makes.
ARG BASE=skysail-base:bookworm
FROM ${BASE}

COPY LICENSE /usr/share/doc/skysail/LICENSE
COPY skysail /usr/local/bin/skysail

# State, and the socket that containers connect to: mount a volume on each.
ENV SKYSAIL_SERVE_DATA_DIR=/var/lib/skysail \
    SKYSAIL_SERVE_RPC=ipc:///run/skysail/rpc.sock
WORKDIR /var/lib/skysail
USER 65532:65532
EXPOSE 1337 1338

# Whether it answers, not whether its models do: a restart would not help those. Needs no token;
# with TLS the directory says which certificate is the right one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/skysail", "ready", "--data-dir", "/var/lib/skysail"]
ENTRYPOINT ["/usr/local/bin/skysail"]
CMD ["serve"]

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Skysail front end" \
      org.opencontainers.image.description="Serves predictions with the tail latency under control" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
