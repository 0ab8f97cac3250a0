package lxd

import (
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// devices are an instance's or a profile's devices by name.
type devices = map[string]map[string]string

var nicOptions = map[string]check{
	"boot.priority":                        optional(isNatural),
	"host_name":                            isAny,
	"hwaddr":                               isAny,
	"ipv4.address":                         isAny,
	"ipv4.routes":                          isAny,
	"ipv4.routes.external":                 isAny,
	"ipv6.address":                         isAny,
	"ipv6.routes":                          isAny,
	"ipv6.routes.external":                 isAny,
	"limits.egress":                        isAny,
	"limits.ingress":                       isAny,
	"limits.max":                           isAny,
	"maas.subnet.ipv4":                     isAny,
	"maas.subnet.ipv6":                     isAny,
	"mtu":                                  optional(isMTU),
	"name":                                 optional(isInterfaceName),
	"network":                              isAny,
	"nictype":                              optional(isOneOf("bridged", "macvlan", "ipvlan", "p2p", "physical", "routed", "sriov")),
	"parent":                               isAny,
	"queue.tx.length":                      optional(isNatural),
	"security.acls":                        isAny,
	"security.acls.default.egress.action":  isAny,
	"security.acls.default.egress.logged":  isAny,
	"security.acls.default.ingress.action": isAny,
	"security.acls.default.ingress.logged": isAny,
	"security.ipv4_filtering":              optional(isBool),
	"security.ipv6_filtering":              optional(isBool),
	"security.mac_filtering":               optional(isBool),
	"security.port_isolation":              optional(isBool),
	"vlan":                                 isAny,
	"vlan.tagged":                          isAny,
}

var diskOptions = map[string]check{
	"boot.priority":     optional(isNatural),
	"ceph.cluster_name": isAny,
	"ceph.user_name":    isAny,
	"limits.max":        isAny,
	"limits.read":       isAny,
	"limits.write":      isAny,
	"path":              isAny,
	"pool":              isAny,
	"propagation":       optional(isOneOf("private", "shared", "slave", "unbindable", "rshared", "rslave", "runbindable", "rprivate")),
	"raw.mount.options": isAny,
	"readonly":          optional(isBool),
	"recursive":         optional(isBool),
	"required":          optional(isBool),
	"shift":             optional(isBool),
	"size":              optional(isSize),
	"size.state":        optional(isSize),
	"source":            isAny,
}

// otherDevices are types of devices that are taken without a look.
var otherDevices = []string{"none", "infiniband", "unix-char", "unix-block", "unix-hotplug", "usb", "gpu", "proxy", "tpm", "pci"}

// checkDevices checks devices as LXD does wherever they are written; s.mu is
// held.
func (s *Server) checkDevices(all devices) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := s.checkDevice(name, all[name]); err != nil {
			return says("Device validation failed for %q: %w", name, err)
		}
	}
	return nil
}

func (s *Server) checkDevice(name string, device map[string]string) error {
	switch kind := device["type"]; {
	case kind == "":
		return says("Failed loading device %q: Missing device type in config", name)
	case slices.Contains(otherDevices, kind):
		return nil
	case kind == "nic":
		return s.checkNIC(name, device)
	case kind == "disk":
		return checkDisk(device)
	default:
		return says("Failed loading device %q: Unsupported device type", name)
	}
}

func (s *Server) checkNIC(name string, device map[string]string) error {
	if network := device["network"]; network != "" {
		if s.networks[network] == nil {
			return says("Failed loading device %q: Failed to load network %q for project \"default\": Network not found", name, network)
		}
	} else if device["nictype"] == "" {
		return says("Failed loading device %q: Unsupported device type", name)
	}
	return checkOptions(device, nicOptions)
}

func checkDisk(device map[string]string) error {
	if err := checkOptions(device, diskOptions); err != nil {
		return err
	}
	switch {
	case isRoot(device) && device["pool"] == "":
		return says("Root disk entry must have a \"pool\" property set")
	case isRoot(device):
		return nil
	case device["source"] == "" || device["path"] == "":
		return says("Disk entry is missing the required \"source\" or \"path\" property")
	}
	return nil
}

func checkOptions(device map[string]string, options map[string]check) error {
	for _, key := range slices.Sorted(maps.Keys(device)) {
		if key == "type" {
			continue
		}
		valid, known := options[key]
		if !known {
			return says("Invalid device option %q", key)
		}
		if err := valid(device[key]); err != nil {
			return says("Invalid value for device option %q: %w", key, err)
		}
	}
	return nil
}

func isRoot(device map[string]string) bool {
	return device["type"] == "disk" && device["path"] == "/" && device["source"] == ""
}

// rootPool is the pool of the root disk; "" when there is no root disk.
func rootPool(all devices) string {
	for _, device := range all {
		if isRoot(device) {
			return device["pool"]
		}
	}
	return ""
}

// checkSources checks that the folders of disk devices are there, as LXD does
// when a device is added and again when the instance starts.
func checkSources(all devices, when string) error {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		device := all[name]
		if device["type"] != "disk" || device["pool"] != "" || device["required"] == "false" {
			continue
		}
		source := device["source"]
		if _, err := os.Stat(source); err != nil {
			return says("Failed %s validation for device %q: Missing source path %q for disk %q", when, name, source, name)
		}
	}
	return nil
}

// checkShift refuses what kernels before 6.3 can't do.
func checkShift(all devices) error {
	for name, device := range all {
		if device["type"] != "disk" || device["shift"] != "true" {
			continue
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(device["source"], &fs); err == nil && int64(fs.Type) == unix.TMPFS_MAGIC {
			return says("Failed to start device %q: Failed to setup device mount %q: idmapping abilities are required but aren't supported on system", name, device["path"])
		}
	}
	return nil
}
