// Package qemu makes a real LXD daemon take orders for virtual machines on a
// machine that can't run any. The calling program plays QEMU and the other
// programs that LXD looks for: LXD then checks the configuration and the devices
// of virtual machines by its own rules, makes their records and disks, and fails
// only when one is to be started.
package qemu
