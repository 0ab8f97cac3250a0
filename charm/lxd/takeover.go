package lxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/takeover"
)

// What the Python charm of 2024 made in LXD. All of its units on a machine shared
// it; only instances were a unit's own.
const (
	formerACL     = "github"
	formerNetwork = "lxdbr0"
	formerProfile = "runner"
	formerPool    = "runner"
	formerMemory  = "/storage/ram"
	// formerPorts closed all ports of the machine but that of its policy
	// service: nobody else's ACL has that.
	formerPorts = "1-8079,8081-65535"

	// formerInstalled holds when a runner came online, in seconds.
	formerInstalled = "runner-installed.timestamp"
	// maxTimestamp is later than any runner: the year 5138.
	maxTimestamp = 1e11

	keyACLs         = "security.acls"
	keyEgressAction = "security.acls.default.egress.action"
)

var (
	// formerResources are the names of its profiles for resources.
	formerResources = regexp.MustCompile(`^cpu-[0-9]+-mem-[0-9]+[KMGTPE]iB-disk-[0-9]+[KMGTPE]iB$`)
	// formerSources are where its pool was.
	formerSources = [...]string{"/storage/juju", formerMemory}
	// poolFolders are what LXD makes in a folder that is a pool, and a file system.
	poolFolders = [...]string{"buckets", "containers", "containers-snapshots", "custom", "custom-snapshots", "images", "lost+found", "virtual-machines", "virtual-machines-snapshots"}
	// formerFilters are what it set on the network device of the default profile.
	formerFilters = [...]string{"security.ipv4_filtering", "security.ipv6_filtering", "security.mac_filtering", "security.port_isolation"}
)

// execDeadline bounds a command in an instance: it has been seen to hang for ever.
const execDeadline = 20 * time.Second

var _ takeover.Machines = (*Cloud)(nil)

// FormerInstances implements takeover.Machines.
func (c *Cloud) FormerInstances(ctx context.Context) ([]takeover.Instance, error) {
	server, cancel, err := c.connect(ctx, callDeadline)
	if err != nil {
		return nil, err
	}
	defer cancel()
	all, err := server.all()
	if err != nil {
		return nil, cannot(err, "list LXD's instances")
	}
	var found []takeover.Instance
	for _, instance := range all {
		if isFormer(instance) {
			found = append(found, takeover.Instance{Name: instance.Name, Running: instance.StatusCode != api.Stopped})
		}
	}
	return found, nil
}

// isFormer reports whether the Python charm made an instance: one of its names, gone
// when it stops, with its profile, and without the metadata that ours have.
func isFormer(instance api.Instance) bool {
	return takeover.IsName(instance.Name) && instance.Ephemeral &&
		slices.Contains(instance.Profiles, formerProfile) && instance.Config[keyUnit] == ""
}

// FormerWorking implements takeover.Machines: it looks for the process of a job,
// in containers and virtual machines alike.
func (c *Cloud) FormerWorking(ctx context.Context, name string) (runner.Working, error) {
	server, cancel, err := c.connect(ctx, execDeadline)
	if err != nil {
		return runner.WorkingUnknown, err
	}
	defer cancel()
	code, err := server.exec(name, "pgrep", "-x", workerName)
	switch {
	case errors.Is(classify(err), runner.ErrNotFound):
		return runner.WorkingNo, nil
	case err != nil:
		return runner.WorkingUnknown, cannot(err, "look for a job in %s", name)
	case code == 0:
		return runner.WorkingYes, nil
	case code == 1:
		return runner.WorkingNo, nil
	}
	return runner.WorkingUnknown, fmt.Errorf("cannot look for a job in %s: pgrep ended with %d", name, code)
}

// exec runs a command in an instance and returns its exit status.
func (s server) exec(name string, command ...string) (int, error) {
	request := api.InstanceExecPost{Command: command}
	response, _, err := s.RawQuery(http.MethodPost, "/1.0"+apiPath("instances", name, "exec"), request, "")
	if err != nil {
		return 0, err
	}
	operation, err := response.MetadataAsOperation()
	if err != nil {
		return 0, fmt.Errorf("cannot understand LXD's answer: %w", err)
	}
	if err := s.wait(operation); err != nil {
		return 0, err
	}
	code, ok := operation.Metadata["return"].(float64)
	if !ok {
		return 0, errors.New("LXD does not tell how the command ended")
	}
	return int(code), nil
}

// RemoveFormer implements takeover.Machines. Stopping removes an ephemeral
// instance by itself.
func (c *Cloud) RemoveFormer(ctx context.Context, name string) error {
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	if err := c.deleteInstance(server, name, isFormer); err != nil {
		return fmt.Errorf("cannot delete instance %s: %w", name, err)
	}
	return nil
}

// FormerRemains implements takeover.Machines. The Python charm's runners left files
// of the same names as ours, and one more.
func (c *Cloud) FormerRemains(dir, name string) (remains runner.Remains, came time.Time) {
	left := exchange{root: dir, name: name}
	for file, content := range map[string]*[]byte{cloudinit.PreJobMetricsFile: &remains.PreJob, cloudinit.PostJobMetricsFile: &remains.PostJob} {
		data, err := left.read(file, maxMetricsFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.log.WithField("runner", name).WithError(err).Warn("what a runner of the previous charm measured is lost")
		}
		*content = data
	}
	stamp, err := left.read(formerInstalled, maxMetricsFile)
	if err != nil {
		return remains, came
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(stamp)), 64)
	if err != nil || !(seconds > 0 && seconds < maxTimestamp) {
		return remains, came
	}
	return remains, time.UnixMilli(int64(seconds * 1000))
}

// RemoveFormerSetup implements takeover.Machines. The images stay, for they are
// those that the unit's runners start from; so does the network, which LXD's own
// set-up made.
func (c *Cloud) RemoveFormerSetup(ctx context.Context) error {
	server, cancel, err := c.connect(ctx, deleteDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	sources := formerSources[:]
	if c.config.StoragePath != "" {
		sources = []string{c.config.StoragePath, formerMemory}
	}
	return errors.Join(
		c.removeFormerACL(server),
		c.removeFormerProfiles(server),
		c.removeFormerPool(server, sources...),
	)
}

// removeFormerACL takes the ACL off the bridge that the Python charm put it on. It
// deletes it if it is that charm's and nothing else has come to use it.
func (c *Cloud) removeFormerACL(server server) error {
	acl, _, err := server.GetNetworkACL(formerACL)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return cannot(err, "read the network ACL %s", formerACL)
	}
	ours := func(rule api.NetworkACLRule) bool {
		return rule.Action == "reject" && rule.DestinationPort == formerPorts
	}
	if !slices.ContainsFunc(acl.Egress, ours) {
		return nil // somebody else's of that name
	}
	if err := c.detachFormerACL(server); err != nil {
		return err
	}
	if acl, _, err = server.GetNetworkACL(formerACL); err != nil {
		return cannot(ignoreMissing(err), "read the network ACL %s", formerACL)
	}
	if len(acl.UsedBy) > 0 {
		c.log.WithField("used-by", acl.UsedBy).Info("the previous charm's network ACL stays: it is in use")
		return nil
	}
	err = ignoreMissing(server.change(http.MethodDelete, apiPath("network-acls", formerACL), nil, ""))
	return cannot(err, "delete the network ACL %s", formerACL)
}

func (c *Cloud) detachFormerACL(server server) error {
	networks, err := server.GetNetworks()
	if err != nil {
		return cannot(err, "list LXD's networks")
	}
	for _, network := range networks {
		acls := strings.FieldsFunc(network.Config[keyACLs], func(r rune) bool { return r == ',' || r == ' ' })
		if network.Name != formerNetwork || !slices.Contains(acls, formerACL) {
			continue
		}
		config := maps.Clone(network.Config)
		acls = slices.DeleteFunc(acls, func(name string) bool { return name == formerACL })
		config[keyACLs] = strings.Join(acls, ",")
		if len(acls) == 0 {
			delete(config, keyACLs)
			delete(config, keyEgressAction)
		}
		change := api.NetworkPut{Description: network.Description, Config: config}
		if err := server.change(http.MethodPut, apiPath("networks", network.Name), change, ""); err != nil {
			return cannot(err, "take the network ACL %s off the network %s", formerACL, network.Name)
		}
	}
	return nil
}

// removeFormerProfiles deletes the profiles of the Python charm that nothing uses,
// and takes its filters out of the default profile, unless somebody's instances
// would feel it.
func (c *Cloud) removeFormerProfiles(server server) error {
	profiles, err := server.GetProfiles()
	if err != nil {
		return cannot(err, "list LXD's profiles")
	}
	var failures []error
	for _, profile := range profiles {
		resources := formerResources.MatchString(profile.Name) && profile.Devices["root"]["pool"] == formerPool
		plain := profile.Name == formerProfile && len(profile.Config) == 0 && len(profile.Devices) == 0
		switch {
		case profile.Name == "default":
			failures = append(failures, c.removeFormerFilters(server, profile))
		case !resources && !plain:
		case len(profile.UsedBy) > 0:
			c.log.WithField("profile", profile.Name).Info("the previous charm's profile stays: it is in use")
		default:
			err := ignoreMissing(server.change(http.MethodDelete, apiPath("profiles", profile.Name), nil, ""))
			failures = append(failures, cannot(err, "delete the profile %s", profile.Name))
		}
	}
	return errors.Join(failures...)
}

func (c *Cloud) removeFormerFilters(server server, profile api.Profile) error {
	device := maps.Clone(profile.Devices["eth0"])
	for _, filter := range formerFilters {
		if device[filter] != "true" {
			return nil
		}
		delete(device, filter)
	}
	if len(profile.UsedBy) > 0 {
		c.log.Info("the previous charm's filters in LXD's default profile stay: instances use it")
		return nil
	}
	change := api.ProfilePut{Description: profile.Description, Config: profile.Config, Devices: maps.Clone(profile.Devices)}
	change.Devices["eth0"] = device
	return cannot(server.change(http.MethodPut, apiPath("profiles", profile.Name), change, ""), "change the profile %s", profile.Name)
}

// removeFormerPool deletes the Python charm's pool unless somebody's instance,
// volume or profile is on it, or anything else in its folder: LXD would remove all
// that is there. On the storage that Juju attached that is what this unit's own
// pool is made on, as long as the unit is there. The pool must have been made on one
// of the given paths, or below a root there.
func (c *Cloud) removeFormerPool(server server, paths ...string) error {
	pool, _, err := server.GetStoragePool(formerPool)
	if err = classify(err); errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return cannot(err, "read the storage pool %s", formerPool)
	}
	source := pool.Config["source"]
	known := slices.ContainsFunc(paths, func(path string) bool { return strings.HasSuffix(source, path) })
	if pool.Driver != "dir" || !known {
		return nil // somebody else's of that name
	}
	entries, err := os.ReadDir(source)
	if ignoreNoFile(err) != nil {
		return fmt.Errorf("cannot look at what is on the storage pool %s: %w", formerPool, err)
	}
	shared := slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return !slices.Contains(poolFolders[:], entry.Name()) })
	if shared || inUse(*pool) {
		c.log.WithField("source", source).Info("the previous charm's storage pool stays: it, or its folder, is in use")
		return nil
	}
	err = ignoreMissing(server.change(http.MethodDelete, apiPath("storage-pools", formerPool), nil, ""))
	return cannot(err, "delete the storage pool %s", formerPool)
}
