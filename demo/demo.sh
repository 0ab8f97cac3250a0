#!/bin/bash
# The charm's main story, from deployment to removal: every command is shown as
# an operator would type it, with what it really printed and how long it took.
#
#   demo/demo.sh [auto|lxd|emulated]
#
# It runs in a lab of its own, .lab-demo-<process>, which is gone at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

cloud=${1:-auto}
export LAB_DIR=$PWD/.lab-demo-$$
charm=./github-runner_$(case $(uname -m) in aarch64) echo arm64 ;; *) echo amd64 ;; esac).charm
unit=github-runner/0
began=$EPOCHREALTIME

# since START: seconds with one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

chapter() { printf '\n\033[1m== %s\033[0m   (%s s so far)\n' "$*" "$(since "$began")"; }

# shown COMMAND…: the command as typed, its output, and its time.
shown() {
    local from=$EPOCHREALTIME status=0
    printf '\n$ %s\n' "$*"
    "$@" </dev/null || status=$?
    printf '  [%s s]\n' "$(since "$from")"
    return $status
}

lab() { bin/lab "$@"; }

# juju is what an operator has; here the lab's model answers. While a command
# works, the unit's status is followed.
juju() {
    follow &
    local follower=$! status=0
    bin/lab juju "$@" || status=$?
    kill "$follower" 2>/dev/null || true
    wait "$follower" 2>/dev/null || true
    return $status
}

# follow prints each new status message of the unit.
follow() {
    local from=$EPOCHREALTIME last='' now
    while sleep 0.5; do
        now=$(bin/lab juju status 2>/dev/null | awk -v u="$unit" '$1 ~ "^" u { $1 = ""; print }' || true)
        [ -z "$now" ] || [ "$now" = "$last" ] || printf '    … %5s s  %s\n' "$(since "$from")" "$now" >&2
        last=$now
    done
}

finish() {
    local status=$?
    trap - EXIT
    if [ "$status" != 0 ]; then
        printf '\nThe demo FAILED after %s s. The end of the logs:\n' "$(since "$began")"
        tail -n 40 "$LAB_DIR"/logs/*.log 2>/dev/null || true
        printf '\n'
    fi
    bin/lab down >/dev/null || status=1
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

chapter "A machine with GitHub, a Juju model and LXD"
shown lab up --cloud "$cloud"

chapter "Deploy: three runners come up, each a fresh machine"
shown juju deploy "$charm" --config path=acme/widgets --config token=ghp_demo \
    --config virtual-machines=3 --config lxd-instance-type=container
shown juju status
shown lab cloud instances
shown lab github runners

chapter "Three jobs are taken, each runner takes one and is gone"
shown lab github job --count 3 --duration 5s
shown lab github wait --jobs in_progress --count 3
shown juju status
shown lab github wait --jobs completed --count 3
shown lab github jobs

chapter "The finished runners are replaced, at once by an action…"
shown juju run "$unit" reconcile-runners
shown juju status

chapter "…or by the next update-status"
shown lab github job --duration 1s
shown lab github wait --jobs completed --count 4
shown juju model-config update-status-hook-interval=10s
shown lab github wait --idle 3
shown juju status
shown juju model-config update-status-hook-interval=5m

chapter "A runner with a job is not touched, unless exactly that is asked for"
shown lab github job --name long --duration 10m
shown lab github wait --busy 1
shown juju run "$unit" flush-runners
shown lab github wait --busy 1
shown juju run "$unit" flush-runners mode=flush-busy
shown lab github wait --busy 0 --idle 3
shown juju status

chapter "More runners, and fewer"
shown juju config github-runner virtual-machines=5
shown lab github wait --idle 5
shown juju status
shown juju config github-runner virtual-machines=3
shown juju status

chapter "Removal"
shown juju remove-application github-runner
shown juju status
left=0
proof=$(bin/lab leftovers) || left=1
shown lab down

chapter "What is left"
printf '%s\n' "$proof"
exit $left
