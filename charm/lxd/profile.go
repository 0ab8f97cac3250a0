package lxd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/canonical/lxd/shared/api"
)

// extensionCache is LXD's word for knowing the option io.cache. 5.0 does not, and
// refuses what it does not know.
const extensionCache = "disk_io_cache"

// cacheable reports whether the server lets the cache of a runner's disk be
// chosen.
func (c *Cloud) cacheable(server server) (bool, error) {
	if c.config.InstanceType != VirtualMachine {
		return false, nil
	}
	info, _, err := server.GetServer()
	if err != nil {
		return false, cannot(err, "ask LXD what virtual machines may have")
	}
	return slices.Contains(info.APIExtensions, extensionCache), nil
}

// profileName is that of the profile for the configured resources: another one
// for other resources, so that runners that exist keep theirs.
func (c *Cloud) profileName(cacheable bool) string {
	// A map marshals with sorted keys: the same resources give the same name.
	canonical, _ := json.Marshal(c.profile(cacheable))
	sum := sha256.Sum256(canonical)
	return c.config.unitName() + "-" + hex.EncodeToString(sum[:4])
}

// profile is all that the unit's runners have in common.
func (c *Cloud) profile(cacheable bool) api.ProfilePut {
	config := map[string]string{
		"limits.cpu":     strconv.Itoa(c.config.CPU),
		"limits.memory":  bytesOf(c.config.Memory),
		"boot.autostart": "false",
	}
	if c.config.InstanceType == Container && c.config.StorageKind == MemoryStorage {
		// To the kernel, what a container writes to a disk in memory is memory of
		// the container's.
		config["limits.memory"] = bytesOf(c.config.Memory + c.config.Disk)
	}
	if c.config.InstanceType == Container {
		// Docker in a job needs it.
		config["security.nesting"] = "true"
	}
	return api.ProfilePut{
		Description: "Runners of " + c.config.Owner.Unit,
		Config:      config,
		Devices: map[string]map[string]string{
			"root": c.rootDisk(c.config.Disk, cacheable),
			"eth0": {
				"type":    "nic",
				"name":    "eth0",
				"network": c.config.unitName(),
				// Without these a runner could answer for another's address.
				"security.mac_filtering":  "true",
				"security.ipv4_filtering": "true",
				"security.ipv6_filtering": "true",
				"security.port_isolation": "true",
			},
		},
	}
}

// rootDisk is a machine's own disk, of a size in bytes.
func (c *Cloud) rootDisk(size int64, cacheable bool) map[string]string {
	root := map[string]string{"type": "disk", "path": "/", "pool": c.poolName(), "size": bytesOf(size)}
	if cacheable {
		// Nobody needs a runner's disk after a power failure.
		root["io.cache"] = "unsafe"
	}
	return root
}

// ensureProfile makes the profile, or makes it again what it should be, and
// removes those of the unit that nothing uses any more.
func (c *Cloud) ensureProfile(server server) error {
	profiles, err := server.GetProfiles()
	if err != nil {
		return cannot(err, "list LXD's profiles")
	}
	cacheable, err := c.cacheable(server)
	if err != nil {
		return err
	}
	wanted, name := c.profile(cacheable), c.profileName(cacheable)
	var found *api.Profile
	for i, profile := range profiles {
		switch {
		case profile.Name == name:
			found = &profiles[i]
		case c.config.ownedByUnit(profile.Name) && len(profile.UsedBy) == 0:
			if err := server.change(http.MethodDelete, apiPath("profiles", profile.Name), nil, ""); ignoreMissing(err) != nil {
				return cannot(err, "delete the unused profile %s", profile.Name)
			}
		}
	}
	if found == nil {
		err := server.change(http.MethodPost, "/profiles", api.ProfilesPost{Name: name, ProfilePut: wanted}, "")
		return cannot(err, "create the profile %s", name)
	}
	if maps.Equal(found.Config, wanted.Config) && equalDevices(found.Devices, wanted.Devices) {
		return nil
	}
	c.log.WithField("profile", name).Warn("the profile was edited: repairing it")
	return cannot(server.change(http.MethodPut, apiPath("profiles", name), wanted, ""), "repair the profile %s", name)
}

func equalDevices(a, b map[string]map[string]string) bool {
	return maps.EqualFunc(a, b, maps.Equal[map[string]string])
}
