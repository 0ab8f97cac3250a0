#!/bin/bash
# The charm's main story, from deployment to removal: every command is shown as
# an operator would type it, with what it really printed and how long it took.
# Lines with "…" tell what the unit's status says meanwhile.
#
#   demo/demo.sh [auto|lxd|emulated]
#
# It runs in a lab of its own, .lab-demo-<process>, which is gone at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

cloud=${1:-auto}
export LAB_DIR=$PWD/.lab-demo-$$
case $(uname -m) in
aarch64) charm=./github-runner_arm64.charm ;;
*) charm=./github-runner_amd64.charm ;;
esac
unit=github-runner/0
began=$EPOCHREALTIME
bold='' plain=''
[ ! -t 1 ] || bold=$'\e[1m' plain=$'\e[0m'

# since START: seconds with one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

chapter() { printf '\n%s== %s%s   (%s s so far)\n' "$bold" "$*" "$plain" "$(since "$began")"; }

# shown COMMAND…: the command as typed, its output, and the time it took.
shown() {
    local from=$EPOCHREALTIME status=0 follower
    printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"
    follow &
    follower=$!
    "$@" </dev/null || status=$?
    kill "$follower" 2>/dev/null || true
    wait "$follower" 2>/dev/null || true
    printf '  [%s s]\n' "$(since "$from")"
    return $status
}

# follow prints each new status of the unit until it is killed.
follow() {
    local from=$EPOCHREALTIME last now
    last=$(workload)
    while sleep 0.5; do
        now=$(workload)
        [ -z "$now" ] || [ "$now" = "$last" ] || printf '    … %5s s  %s\n' "$(since "$from")" "$now"
        last=$now
    done
}

# workload is the unit's status and message.
workload() {
    [ -S "$LAB_DIR/juju.sock" ] || return 0
    bin/lab juju status 2>/dev/null | awk -v unit="$unit" '
        index($1, unit) == 1 {
            status = $2
            sub(/^[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ */, "")
            print status ": " $0
        }' || true
}

finish() {
    local status=$?
    trap - EXIT
    if [ "$status" != 0 ]; then
        printf '\nThe demo FAILED after %s s.\n' "$(since "$began")"
        tail -n 40 "$LAB_DIR"/logs/*.log 2>/dev/null || true
    fi
    bin/lab down >/dev/null || status=1
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

chapter "A machine with GitHub, a Juju model and LXD"
shown bin/lab up --cloud "$cloud"

chapter "Deploy: three runners come up, each a fresh machine"
shown bin/lab juju deploy "$charm" --config path=acme/widgets --config token=ghp_demo \
    --config virtual-machines=3 --config lxd-instance-type=container
shown bin/lab juju status
shown bin/lab cloud instances
shown bin/lab github runners

chapter "Three jobs: each runner takes one, and is used up"
shown bin/lab github job --count 3 --duration 5s
shown bin/lab github wait --jobs in_progress --count 3
shown bin/lab github runners
shown bin/lab github wait --jobs completed --count 3
shown bin/lab github jobs

chapter "The used ones are replaced by the unit's agent, while nobody does anything"
shown bin/lab github wait --idle 3
shown bin/lab cloud instances
shown bin/lab juju run "$unit" check-runners explain=true

chapter "Drained: idle ones go, busy ones finish, and none comes until resume"
shown bin/lab github job --name last --duration 5s
shown bin/lab github wait --busy 1
shown bin/lab juju run "$unit" drain-runners
shown bin/lab github wait --jobs completed --count 4
shown bin/lab github wait --registered 0
shown bin/lab juju run "$unit" drain-runners resume=true
shown bin/lab github wait --idle 3
# The agent has no say in the status. Juju runs this hook every five minutes.
shown bin/lab juju exec --unit "$unit" -- hooks/update-status
shown bin/lab juju status

chapter "A runner with a job is left alone, unless exactly that is asked for"
shown bin/lab github job --name long --duration 10m
shown bin/lab github wait --busy 1
shown bin/lab juju run "$unit" flush-runners
shown bin/lab github runners
shown bin/lab juju run "$unit" flush-runners mode=flush-busy
shown bin/lab github wait --busy 0 --idle 3
shown bin/lab juju run "$unit" check-runners

chapter "More runners, and fewer"
shown bin/lab juju config github-runner virtual-machines=5
shown bin/lab juju status
shown bin/lab juju config github-runner virtual-machines=3
shown bin/lab juju status

chapter "Removal"
shown bin/lab juju remove-application github-runner
shown bin/lab juju status
left=0
# The lab takes the logs along, which the charm keeps on purpose.
proof=$(bin/lab leftovers | grep -v '^kept on purpose') || left=1
shown bin/lab down

chapter "What the charm left behind"
printf '%s\n' "$proof"
exit $left
