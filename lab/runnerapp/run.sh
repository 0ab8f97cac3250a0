#!/bin/bash
# Starts the listener, again where that makes sense. Like GitHub's own, it makes
# 0 of most exit codes, so that its own says little.
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

listener=
trap '[ -n "$listener" ] && kill -TERM "$listener" 2>/dev/null' TERM INT

while :; do
    bin/Runner.Listener run "$@" &
    listener=$!
    # A signal ends wait, not the listener.
    while :; do
        wait "$listener"
        code=$?
        kill -0 "$listener" 2>/dev/null || break
    done
    case $code in
    0) echo "The listener came to its end." ;;
    1) echo "The listener gave up (1)." ;;
    2 | 3 | 4)
        echo "The listener wants to be started again ($code)."
        sleep 5
        continue
        ;;
    5) echo "Another listener holds the session (5)." ;;
    7)
        echo "GitHub refuses this version (7)."
        exit 7
        ;;
    *) echo "The listener ended with the unknown code $code." ;;
    esac
    exit 0
done
