#!/bin/sh
# Runs every test, those against a real LXD on a daemon of the tests' own where
# one can run. Its last words are go test's.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
lab=$top/.lab-test

down() {
    bin/lab down --dir "$lab" >"$lab.down.log" 2>&1 || cat "$lab.down.log" >&2
    rm -f "$lab.down.log"
}

if bin/lab up --dry-run | grep -q 'real LXD'; then
    # What an interrupted run left goes first.
    [ ! -e "$lab" ] || down
    trap down EXIT
    trap 'exit 130' INT TERM
    bin/lab up --cloud lxd --dir "$lab"
    GITHUB_RUNNER_TEST_LXD_DIR=$(sed -n 's/^ *"lxd_dir": "\(.*\)",*$/\1/p' "$lab/lab.json")
    [ -S "$GITHUB_RUNNER_TEST_LXD_DIR/unix.socket" ] || {
        echo "error: the lab in $lab does not say where its LXD is" >&2
        exit 1
    }
    export GITHUB_RUNNER_TEST_LXD_DIR
elif [ "${ACCEPTANCE_REAL:-}" = require ]; then
    bin/lab up --dry-run --cloud lxd
    exit 1
else
    echo "NOT TESTED on real LXD: it can't run here. The tests take the emulation."
fi
CGO_ENABLED=1 tools/with-go.sh go test -race -p 1 -timeout 25m ./...
