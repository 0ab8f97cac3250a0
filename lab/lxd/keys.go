package lxd

import (
	"maps"
	"slices"
	"strings"
)

// instanceKeys are the configuration keys of instances and profiles, with the
// checks of those whose values the charm or its operator may get wrong.
var instanceKeys = map[string]check{
	"boot.autostart":                       optional(isBool),
	"boot.autostart.delay":                 optional(isInt),
	"boot.autostart.priority":              optional(isInt),
	"boot.stop.priority":                   optional(isInt),
	"boot.host_shutdown_timeout":           optional(isInt),
	"cloud-init.network-config":            isAny,
	"cloud-init.user-data":                 isAny,
	"cloud-init.vendor-data":               isAny,
	"cluster.evacuate":                     optional(isOneOf("auto", "migrate", "live-migrate", "stop")),
	"limits.cpu":                           optional(isCPULimit),
	"limits.cpu.allowance":                 isAny,
	"limits.cpu.priority":                  optional(isPriority),
	"limits.disk.priority":                 optional(isPriority),
	"limits.hugepages.64KB":                optional(isSize),
	"limits.hugepages.1MB":                 optional(isSize),
	"limits.hugepages.2MB":                 optional(isSize),
	"limits.hugepages.1GB":                 optional(isSize),
	"limits.memory":                        optional(isMemoryLimit),
	"limits.memory.enforce":                optional(isOneOf("soft", "hard")),
	"limits.memory.hugepages":              optional(isBool),
	"limits.memory.swap":                   optional(isBool),
	"limits.memory.swap.priority":          optional(isPriority),
	"limits.network.priority":              optional(isPriority),
	"limits.processes":                     optional(isInt),
	"linux.kernel_modules":                 isAny,
	"migration.incremental.memory":         optional(isBool),
	"migration.stateful":                   optional(isBool),
	"nvidia.runtime":                       optional(isBool),
	"raw.apparmor":                         isAny,
	"raw.idmap":                            isAny,
	"raw.lxc":                              isAny,
	"raw.qemu":                             isAny,
	"raw.qemu.conf":                        isAny,
	"raw.seccomp":                          isAny,
	"security.agent.metrics":               optional(isBool),
	"security.devlxd":                      optional(isBool),
	"security.devlxd.images":               optional(isBool),
	"security.idmap.base":                  optional(isNatural),
	"security.idmap.isolated":              optional(isBool),
	"security.idmap.size":                  optional(isNatural),
	"security.nesting":                     optional(isBool),
	"security.privileged":                  optional(isBool),
	"security.protection.delete":           optional(isBool),
	"security.protection.shift":            optional(isBool),
	"security.secureboot":                  optional(isBool),
	"security.syscalls.allow":              isAny,
	"security.syscalls.deny":               isAny,
	"security.syscalls.deny_compat":        optional(isBool),
	"security.syscalls.deny_default":       optional(isBool),
	"security.syscalls.intercept.bpf":      optional(isBool),
	"security.syscalls.intercept.mknod":    optional(isBool),
	"security.syscalls.intercept.mount":    optional(isBool),
	"security.syscalls.intercept.setxattr": optional(isBool),
	"security.syscalls.intercept.sysinfo":  optional(isBool),
	"snapshots.expiry":                     isAny,
	"snapshots.pattern":                    isAny,
	"snapshots.schedule":                   isAny,
	"snapshots.schedule.stopped":           optional(isBool),
	"user.meta-data":                       isAny,
	"user.network-config":                  isAny,
	"user.user-data":                       isAny,
	"user.vendor-data":                     isAny,
}

// instancePrefixes begin keys that take any rest and any value.
var instancePrefixes = []string{"user.", "environment.", "image.", "limits.kernel.", "linux.sysctl.", "volatile."}

// checkConfig checks the configuration of an instance of a type, or of a profile,
// "", which may hold no volatile keys.
func checkConfig(config map[string]string, kind string) error {
	profile := kind == ""
	for _, key := range slices.Sorted(maps.Keys(config)) {
		if profile && strings.HasPrefix(key, "volatile.") {
			return says("Volatile keys can only be set on instances")
		}
		if profile && strings.HasPrefix(key, "image.") {
			return says("Image keys can only be set on instances")
		}
		valid, known := instanceKeys[key]
		if !isFor(key, kind) {
			return says("Unknown configuration key: %s", key)
		}
		if !known {
			if hasPrefix(key, instancePrefixes) {
				continue
			}
			return says("Unknown configuration key: %s", key)
		}
		if err := valid(config[key]); err != nil {
			return err
		}
	}
	return nil
}

func hasPrefix(key string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}

// bridgeKeys are the options of bridge networks.
var bridgeKeys = map[string]check{
	"bridge.driver":                        optional(isOneOf("native", "openvswitch")),
	"bridge.external_interfaces":           isAny,
	"bridge.hwaddr":                        optional(isAny),
	"bridge.mode":                          optional(isOneOf("standard", "fan")),
	"bridge.mtu":                           optional(isMTU),
	"dns.domain":                           isAny,
	"dns.mode":                             optional(isOneOf("dynamic", "managed", "none")),
	"dns.search":                           isAny,
	"dns.zone.forward":                     isAny,
	"dns.zone.reverse.ipv4":                isAny,
	"dns.zone.reverse.ipv6":                isAny,
	"fan.overlay_subnet":                   isAny,
	"fan.type":                             isAny,
	"fan.underlay_subnet":                  isAny,
	"ipv4.address":                         isBridgeAddress(isCIDR(true)),
	"ipv4.dhcp":                            optional(isBool),
	"ipv4.dhcp.expiry":                     isAny,
	"ipv4.dhcp.gateway":                    optional(isAddress(true)),
	"ipv4.dhcp.ranges":                     optional(listOf(isRange)),
	"ipv4.firewall":                        optional(isBool),
	"ipv4.nat":                             optional(isBool),
	"ipv4.nat.address":                     optional(isAddress(true)),
	"ipv4.nat.order":                       optional(isOneOf("before", "after")),
	"ipv4.ovn.ranges":                      isAny,
	"ipv4.routes":                          optional(listOf(isCIDR(true))),
	"ipv4.routing":                         optional(isBool),
	"ipv6.address":                         isBridgeAddress(isCIDR(false)),
	"ipv6.dhcp":                            optional(isBool),
	"ipv6.dhcp.expiry":                     isAny,
	"ipv6.dhcp.ranges":                     optional(listOf(isRange)),
	"ipv6.dhcp.stateful":                   optional(isBool),
	"ipv6.firewall":                        optional(isBool),
	"ipv6.nat":                             optional(isBool),
	"ipv6.nat.address":                     optional(isAddress(false)),
	"ipv6.nat.order":                       optional(isOneOf("before", "after")),
	"ipv6.ovn.ranges":                      isAny,
	"ipv6.routes":                          optional(listOf(isCIDR(false))),
	"ipv6.routing":                         optional(isBool),
	"maas.subnet.ipv4":                     isAny,
	"maas.subnet.ipv6":                     isAny,
	"raw.dnsmasq":                          isAny,
	"security.acls":                        isAny,
	"security.acls.default.egress.action":  optional(isOneOf("allow", "drop", "reject")),
	"security.acls.default.egress.logged":  optional(isBool),
	"security.acls.default.ingress.action": optional(isOneOf("allow", "drop", "reject")),
	"security.acls.default.ingress.logged": optional(isBool),
}

var bridgePrefixes = []string{"user.", "volatile.", "tunnel.", "bgp."}

func isBridgeAddress(is check) check {
	return func(value string) error {
		switch value {
		case "", "none", "auto":
			return nil
		}
		return is(value)
	}
}

func checkBridge(name string, config map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(config)) {
		valid, known := bridgeKeys[key]
		if !known {
			if hasPrefix(key, bridgePrefixes) {
				continue
			}
			return says("Invalid option for network %q option %q", name, key)
		}
		if err := valid(config[key]); err != nil {
			return says("Invalid value for network %q option %q: %w", name, key, err)
		}
	}
	return nil
}

// poolKeys are the options of storage pools by driver.
var poolKeys = map[string]map[string]check{
	"dir": {
		"source": isAny,
	},
	"btrfs": {
		"source":              isAny,
		"size":                optional(isSize),
		"btrfs.mount_options": isAny,
	},
}

var (
	poolPrefixes   = []string{"user.", "volume.", "volatile."}
	commonPoolKeys = map[string]check{
		"rsync.bwlimit":     optional(isSize),
		"rsync.compression": optional(isBool),
	}
)

func checkPool(driver string, config map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(config)) {
		valid, known := poolKeys[driver][key]
		if !known {
			valid, known = commonPoolKeys[key]
		}
		if !known {
			if hasPrefix(key, poolPrefixes) {
				continue
			}
			return says("Invalid option %q", key)
		}
		if err := valid(config[key]); err != nil {
			return says("Invalid value for option %q: %w", key, err)
		}
	}
	return nil
}
