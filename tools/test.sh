#!/bin/sh
# Runs every test, those against a real LXD or a real OpenStack on one of the tests'
# own where it can run. Its last words are go test's.
set -eu
cd "$(dirname "$0")/.."
# Its own, so that two runs do not end each other's.
export LAB_DIR="$PWD/.lab-test-$$"

choice=$(bin/lab up --dry-run)
echo "$choice"
case $choice in
*'real LXD, which can run here'*)
    trap 'bin/lab down >/dev/null' EXIT
    trap 'exit 130' INT TERM
    bin/lab up --cloud lxd >/dev/null
    GITHUB_RUNNER_TEST_LXD_DIR=$(sed -n 's/^ *"lxd_dir": "\(.*\)",*$/\1/p' "$LAB_DIR/lab.json")
    [ -S "$GITHUB_RUNNER_TEST_LXD_DIR/unix.socket" ] || {
        echo "error: the lab in $LAB_DIR does not say where its LXD is" >&2
        exit 1
    }
    export GITHUB_RUNNER_TEST_LXD_DIR
    ;;
*)
    if [ "${ACCEPTANCE_REAL:-}" = require ]; then
        echo "error: real LXD can't run here, and ACCEPTANCE_REAL=require asks for it" >&2
        exit 1
    fi
    echo "NOT TESTED on real LXD: the tests take the emulation"
    ;;
esac
if openstack=$(bin/lab up --dry-run --cloud openstack 2>&1); then
    echo "$openstack"
    echo "NOT TESTED here: servers that boot, and the other sessions on a real OpenStack; 'make test-openstack' does"
else
    echo "$openstack"
    if [ "${ACCEPTANCE_REAL:-}" = require ]; then
        echo "error: a real OpenStack can't run here, and ACCEPTANCE_REAL=require asks for it" >&2
        exit 1
    fi
    echo "NOT TESTED on a real OpenStack: the tests take the emulation"
    openstack=
fi

# -count=1: to keep results, go test would look again at every file that a test has
# opened, and the lives of the simulation open millions.

# Without the race detector ten times as many lives are lived in the same time.
tools/with-go.sh go test -count=1 -timeout 40m ./lab/simulation

# A real OpenStack's services answer too late beside other tests.
[ -z "$openstack" ] || CGO_ENABLED=0 tools/with-go.sh go test -count=1 -timeout 30m -run '^TestRealOpenStack$' ./acceptance

# Two packages at a time: the acceptance tests, which mostly wait, and the others one
# after the other beside them. Containers, processors and bridges are shared.
CGO_ENABLED=1 tools/with-go.sh go test -race -count=1 -p 2 -timeout 55m -skip '^TestRealOpenStack$' ./...
