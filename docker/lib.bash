# shellcheck shell=bash disable=SC2034 # its variables are for the scripts that read it
# What the scripts of this folder share: messages, names, and which engine they talk to.

# Debian's release below every image, and the tag of the base image.
suite=bookworm
base_image=skysail-base:$suite
# The user of every image. A number, so that an orchestrator can check that it is not root.
uid=65532
# Where a front end and its containers meet, and where the front end keeps its state.
socket_dir=/run/skysail state_dir=/var/lib/skysail

me="docker/$(basename "$0")"
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s: %s\n' "$me" "$*"; }
# die STATUS TEXT: 1, the work failed; 2, the command line or this machine is wrong.
die() {
    printf '%s: %s\n' "$me" "$2" >&2
    exit "$1"
}

# The first comment of a script is its help.
help() {
    awk 'NR > 1 && /^#/ { sub(/^# ?/, ""); print; next } NR > 1 { exit }' "$0"
    exit 0
}

# The folder of the engine that docker/engine starts for this checkout. Outside of it: an
# engine's files are root's, and a socket's path must be short.
engine_dir() {
    local key
    key=$(printf %s "$checkout" | cksum | cut -d' ' -f1)
    printf '%s' "${SKYSAIL_ENGINE_DIR:-/var/lib/skysail-engine-$key}"
}

answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Finds an engine: the one that `docker` is set up for, else this checkout's own.
find_engine() {
    command -v docker >/dev/null || return 1
    answers && return
    local socket
    socket=$(engine_dir)/docker.sock
    [ -S "$socket" ] || return 1
    export DOCKER_HOST=unix://$socket
    answers
}

need_engine() {
    find_engine || die 2 "no Docker engine answers: start one, or run docker/engine start as root"
}
