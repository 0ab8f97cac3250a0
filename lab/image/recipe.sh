#!/bin/sh
# Fills a directory with a small Debian that runs as a runner's machine: what
# the charm expects of a stock Ubuntu image, and nothing else. Called in a mount
# namespace of its own: recipe.sh DIRECTORY MIRROR
set -eu
rootfs=$1
mirror=$2

debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,dbus,udev,iproute2,procps,sudo,jq,curl,ca-certificates,netbase,nftables \
    bookworm "$rootfs" "$mirror"

# Debootstrap's --include can't resolve what cloud-init depends on.
mount -t proc proc "$rootfs/proc"
cp /etc/resolv.conf "$rootfs/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' > "$rootfs/usr/sbin/policy-rc.d"
chmod 0755 "$rootfs/usr/sbin/policy-rc.d"
in_rootfs() {
    chroot "$rootfs" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \
        DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}
in_rootfs apt-get install -y --no-install-recommends cloud-init
in_rootfs useradd --create-home --uid 1000 --shell /bin/bash ubuntu
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' > "$rootfs/etc/sudoers.d/90-ubuntu"
chmod 0440 "$rootfs/etc/sudoers.d/90-ubuntu"

# One network manager: with two of them boot waits half a minute for one.
cat > "$rootfs/etc/systemd/network/10-eth0.network" <<EOF
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
EOF
in_rootfs systemctl enable systemd-networkd
echo 'network: {config: disabled}' > "$rootfs/etc/cloud/cloud.cfg.d/91-network.cfg"
echo 'datasource_list: [LXD, NoCloud, None]' > "$rootfs/etc/cloud/cloud.cfg.d/90-datasource.cfg"

in_rootfs apt-get clean
rm -f "$rootfs/usr/sbin/policy-rc.d" "$rootfs/etc/resolv.conf"
rm -rf "$rootfs"/var/lib/apt/lists/* "$rootfs"/usr/share/doc/* "$rootfs"/usr/share/man/* "$rootfs"/usr/share/locale/*
: > "$rootfs/etc/machine-id"
umount "$rootfs/proc"
