#!/bin/sh
# Runs a command with the project's Go first in $PATH, whatever Go this machine
# has: with-go.sh go build ./...
#
# It takes the first of these that there is:
#
#   1. the toolchain that tools/setup.sh put into .tools
#   2. a go that is at least what go.mod asks for
#   3. a go of 1.21 or later, which fetches the pinned toolchain itself
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/versions.sh"

# at_least HAVE WANT: whether a version such as 1.26.8 is WANT or later.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

wanted=$(sed -n 's/^go //p' "$top/go.mod")
root='' older=''
for go in "$top/.tools/go$GO_VERSION/bin/go" "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go; do
    [ -n "$go" ] && [ -x "$go" ] || continue
    version=$(cd / && GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null | sed 's/^go//; s/[^0-9.].*//')
    if at_least "${version:-0}" "$wanted"; then
        root=$(cd / && GOTOOLCHAIN=local "$go" env GOROOT)
        break
    fi
    if [ -z "$older" ] && at_least "${version:-0}" 1.21; then
        older=$go
    fi
done
if [ -z "$root" ] && [ -n "$older" ]; then
    root=$(cd / && GOTOOLCHAIN=go$GO_VERSION "$older" env GOROOT) || root=''
fi
if [ -z "$root" ]; then
    echo "error: no Go here that can build this: $wanted or later is needed; 'make setup' fetches it" >&2
    exit 1
fi
PATH=$root/bin:$PATH
GOTOOLCHAIN=local
export PATH GOTOOLCHAIN
unset GOROOT
exec "$@"
