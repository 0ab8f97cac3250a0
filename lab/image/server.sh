#!/bin/sh
# Makes an image for OpenStack servers of the image for containers: with a kernel
# and an SSH server, and cloud-init reading Nova's configuration drive. Called in a
# mount namespace of its own: server.sh ROOTFS.squashfs DIRECTORY
set -eu
squashfs=$1
work=$2
rootfs=$work/rootfs
result=$work/done

unsquashfs -quiet -no-progress -dest "$rootfs" "$squashfs"
mount -t proc proc "$rootfs/proc"
cp /etc/resolv.conf "$rootfs/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' > "$rootfs/usr/sbin/policy-rc.d"
chmod 0755 "$rootfs/usr/sbin/policy-rc.d"
in_rootfs() {
    chroot "$rootfs" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \
        DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}

# Only the drivers that QEMU's devices need: the RAM disk is loaded at each boot.
mkdir -p "$rootfs/etc/initramfs-tools/conf.d"
printf 'MODULES=list\nCOMPRESS=zstd\n' > "$rootfs/etc/initramfs-tools/conf.d/lab.conf"
printf 'virtio_pci\nvirtio_blk\nvirtio_net\next4\nisofs\n' > "$rootfs/etc/initramfs-tools/modules"
in_rootfs apt-get update
in_rootfs apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold \
    linux-image-cloud-"$(dpkg --print-architecture)" initramfs-tools zstd openssh-server python3

# Where a container has one interface with DHCP, a server has the address that
# its configuration drive says.
rm -f "$rootfs/etc/systemd/network/10-eth0.network" "$rootfs/etc/cloud/cloud.cfg.d/91-network.cfg" \
    "$rootfs/etc/cloud/cloud.cfg.d/90-datasource.cfg"
cat > "$rootfs/etc/cloud/cloud.cfg.d/90-server.cfg" <<EOF
datasource_list: [ConfigDrive, None]
system_info:
  network: {renderers: [networkd]}
  default_user: {name: ubuntu, lock_passwd: true, shell: /bin/bash, sudo: ["ALL=(ALL) NOPASSWD:ALL"]}
apt: {preserve_sources_list: true}
ssh_genkeytypes: [ed25519]
EOF
printf '/dev/vda / ext4 errors=remount-ro,discard 0 1\n' > "$rootfs/etc/fstab"
in_rootfs systemctl enable systemd-networkd serial-getty@ttyS0
# What a machine of minutes has no use for, and what waits for a network of more.
in_rootfs systemctl mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_reap.service fstrim.timer

mkdir "$result"
cp "$rootfs"/boot/vmlinuz-* "$result/vmlinuz"
cp "$rootfs"/boot/initrd.img-* "$result/initrd.img"
in_rootfs apt-get clean
rm -f "$rootfs/usr/sbin/policy-rc.d" "$rootfs/etc/resolv.conf" "$rootfs"/etc/ssh/ssh_host_*
rm -rf "$rootfs"/var/lib/apt/lists/* "$rootfs"/usr/share/doc/* "$rootfs"/usr/share/man/* "$rootfs"/usr/share/locale/*
: > "$rootfs/etc/machine-id"
umount "$rootfs/proc"

truncate --size 3G "$work/disk.raw"
mke2fs -q -t ext4 -L root -d "$rootfs" "$work/disk.raw"
qemu-img convert -O qcow2 "$work/disk.raw" "$result/disk.qcow2"
