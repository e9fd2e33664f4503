# A model container: one program that calls the Rust SDK's `serve`, alone in the context.
ARG BASE=skysail-base:bookworm
FROM ${BASE}

ARG PROGRAM=model
COPY ${PROGRAM} /usr/local/bin/model

# The front end's socket, and the model's files: mount both. Which model it is comes with
# --model and --version, or SKYSAIL_MODEL and SKYSAIL_VERSION.
ENV SKYSAIL_RPC=ipc:///run/skysail/rpc.sock \
    SKYSAIL_MODEL_PATH=/model
WORKDIR /model
USER 65532:65532

# The front end watches it over the connection, and a second opinion could only disagree.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/model"]

ARG TITLE="Skysail model container"
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="${TITLE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
