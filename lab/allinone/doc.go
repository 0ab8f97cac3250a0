// Package allinone runs a real OpenStack on this machine alone, from the packages
// of Debian 12, which has the release Zed: Keystone, Placement, Glance, Nova and
// Neutron, with MariaDB, RabbitMQ and memcached below them.
//
// Servers are either those of Nova's fake driver, which are ACTIVE at once and run
// nothing, or machines of QEMU's, which boot. Where the processor can't help QEMU
// it emulates one.
//
// All of it lives in namespaces of its own for processes, mounts and the network:
// it ends with the first process of these, and what is not in its folder with it.
// Security groups are kept and not enforced: no agent of Neutron's runs. Addresses
// come to servers by their configuration drives.
package allinone
