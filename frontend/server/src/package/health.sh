#!/bin/sh
# Whether the container's serving loop goes round: 0 yes, 1 no. For Docker's health check and
# Kubernetes' probes. Every loop writes a line a second into SKYSAIL_HEALTH_FILE (workers into files of
# their own): the seconds since the machine's start, and `serving`, or `away` where it looks for its
# front end. One that has been silent for SKYSAIL_HEALTH_SECONDS_MAX (60) is not healthy.
set -u
if [ -z "${SKYSAIL_HEALTH_FILE:-}" ]; then
    echo "SKYSAIL_HEALTH_FILE is not set: it names the file that the container writes"
    exit 1
fi
read -r uptime _ </proc/uptime
now=${uptime%.*} told=''
for file in "$SKYSAIL_HEALTH_FILE" "$SKYSAIL_HEALTH_FILE".*; do
    [ -e "$file" ] || continue
    if ! read -r beat state <"$file"; then
        echo "$file says nothing yet"
        exit 1
    fi
    age=$((now - beat))
    # One of before the machine's last start has a time that is yet to come.
    if [ "$age" -lt 0 ] || [ "$age" -gt "${SKYSAIL_HEALTH_SECONDS_MAX:-60}" ]; then
        echo "the serving loop has been silent since second $beat of the machine, it is $now"
        exit 1
    fi
    told="$told $state"
done
if [ -z "$told" ]; then
    echo "no $SKYSAIL_HEALTH_FILE: the model is not loaded yet, or has ended"
    exit 1
fi
echo "ok:$told"
