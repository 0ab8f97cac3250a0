#!/bin/sh
# Puts on a Debian or Ubuntu machine what building, testing and showing the
# charm needs, and says what it does. What is there already is left alone, so
# it can run any number of times. 'setup.sh openstack' adds what the lab's own
# OpenStack needs, which takes 1.3 GB of disk.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tools/versions.sh"

say() { echo "setup: $*"; }
fail() { echo "setup: error: $*" >&2; exit 1; }

distribution() {
    [ -r /etc/os-release ] && (. /etc/os-release && echo "${ID:-unknown}") || echo unknown
}

# missing PACKAGE…: those that are not installed.
missing() {
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true) in
        'install ok installed') ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

install_packages() {
    command -v apt-get >/dev/null || {
        say "no apt-get here: install by hand what is missing of: $*"
        return 0
    }
    wanted=$(missing "$@")
    [ -n "$wanted" ] || { say "packages: all there"; return 0; }
    if [ "$(id -u)" != 0 ]; then
        say "packages missing, which takes root to install: $wanted"
        return 0
    fi
    say "installing packages: $wanted"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of words
    if ! { apt-get update -q && apt-get install -qy --no-install-recommends $wanted; } >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        fail "cannot install packages; all that apt-get said is in $log"
    fi
    rm -f "$log"
}

# without_services COMMAND…: runs it while packages may not start their services.
without_services() {
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ] || [ "$(id -u)" != 0 ]; then
        "$@"
        return
    fi
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 0755 "$policy"
    "$@"
    rm -f "$policy"
    trap - EXIT INT TERM
}

install_openstack() {
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
    [ "$release" = "$OPENSTACK_DEBIAN" ] ||
        fail "the lab's own OpenStack is made of the packages of Debian $OPENSTACK_DEBIAN, and this is $release: take 'lab up --cloud openstack-emulated'"
    # shellcheck disable=SC2086 # a list of words
    [ -z "$(missing $OPENSTACK_PACKAGES)" ] || say "OpenStack: 1.3 GB of packages, which takes two minutes or more; none of its services is started"
    # shellcheck disable=SC2086 # a list of words
    without_services install_packages $OPENSTACK_PACKAGES
}

fetch_toolchain() {
    if found=$("$top/tools/with-go.sh" go version 2>/dev/null); then
        say "$found"
        return 0
    fi
    case $(uname -m) in
    x86_64) arch=amd64 sum=$GO_SHA256_amd64 ;;
    aarch64) arch=arm64 sum=$GO_SHA256_arm64 ;;
    *) fail "no Go here, and none is pinned for $(uname -m): install Go $GO_VERSION" ;;
    esac
    for tool in curl unzip sha256sum; do
        command -v "$tool" >/dev/null || fail "no Go here, and no $tool to fetch it with: install $tool, or Go $GO_VERSION"
    done
    # The first URL of $GOPROXY, a list with commas or bars between.
    proxy=$(printf '%s' "${GOPROXY:-https://proxy.golang.org}" | tr ',|' '\n\n' | grep -m 1 '^http' || true)
    version=v0.0.1-go$GO_VERSION.linux-$arch
    url=${proxy:-https://proxy.golang.org}
    url=${url%/}/golang.org/toolchain/@v/$version.zip
    say "fetching Go $GO_VERSION from $url"
    mkdir -p "$top/.tools"
    work=$(mktemp -d "$top/.tools/fetch-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    curl -fsSL --retry 3 --max-time 600 -o "$work/go.zip" "$url" || fail "cannot fetch $url"
    echo "$sum  $work/go.zip" | sha256sum -c - >/dev/null || fail "$url is not the file that is pinned (SHA-256 $sum)"
    unzip -q "$work/go.zip" -d "$work"
    go=$work/golang.org/toolchain@$version
    # A module's zip has no modes.
    chmod +x "$go"/bin/* "$go"/pkg/tool/*/*
    rm -rf "$top/.tools/go$GO_VERSION"
    mv "$go" "$top/.tools/go$GO_VERSION"
    say "$("$top/tools/with-go.sh" go version)"
}

packages=$BUILD_PACKAGES
case $(distribution) in
debian) packages="$packages $LXD_PACKAGES" ;;
*) say "LXD: not installed by this script except on Debian, so the lab may have to take its emulated cloud" ;;
esac
# shellcheck disable=SC2086 # a list of words
install_packages $packages
fetch_toolchain
case ${1:-} in
'') ;;
openstack) install_openstack ;;
*) fail "don't know how to set up '$1': say nothing, or openstack" ;;
esac
