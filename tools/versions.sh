# What the build is pinned to. The toolchain is the Go module
# golang.org/toolchain; these are the SHA-256 of its zip files as the Go module
# proxy serves them, whose contents agree with sum.golang.org.
GO_VERSION=1.26.8
GO_SHA256_amd64=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7
GO_SHA256_arm64=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99

# Debian packages, from the release that the machine runs: a C compiler for the
# race detector, programs that tests check what we render with, and what the
# lab's own LXD daemon and its test image need.
BUILD_PACKAGES='gcc libc6-dev curl unzip ca-certificates logrotate systemd procps jq python3 e2fsprogs'
LXD_PACKAGES='lxd lxd-client btrfs-progs debootstrap dnsmasq-base nftables iproute2 squashfs-tools'

# What the lab's own OpenStack needs, and the release of Debian that has it: Zed.
# Servers are made by QEMU for this machine's architecture alone.
OPENSTACK_DEBIAN=bookworm
OPENSTACK_PACKAGES='keystone placement-api glance-api neutron-server
nova-api nova-conductor nova-scheduler nova-compute-kvm
mariadb-server rabbitmq-server memcached python3-memcache uwsgi-plugin-python3
genisoimage qemu-utils debootstrap squashfs-tools e2fsprogs iproute2'
