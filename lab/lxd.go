package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	lxd "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/image"
)

const (
	lxdCallTimeout   = 30 * time.Second
	lxdImportTimeout = 5 * time.Minute
)

// imageAliases are the names under which the one test image is in every cloud:
// those that the charm looks for.
var imageAliases = []string{"jammy", "noble"}

// Capabilities as bits of CapEff, see capabilities(7).
const (
	capNetAdmin = 1 << 12
	capSysAdmin = 1 << 21
)

// lxdObstacle says why this process can't run an LXD daemon of its own; empty
// when it can.
func lxdObstacle(builder image.Builder) string {
	if os.Geteuid() != 0 {
		return "it needs root"
	}
	if !hasCapabilities(capSysAdmin | capNetAdmin) {
		return "root may not mount and may not make networks here"
	}
	path, err := exec.LookPath("lxd")
	if err != nil {
		return "there is no lxd in $PATH ('make setup' installs it on Debian)"
	}
	if strings.HasPrefix(path, "/snap/") {
		return "LXD is a snap here, which can't run a second daemon beside the machine's own"
	}
	tools := []string{"ip", "dnsmasq", "nft", "unsquashfs"}
	if _, ok := builder.Cached(); !ok {
		tools = append(tools, image.Tools()...)
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return "there is no " + tool + " in $PATH ('make setup' installs it)"
		}
	}
	if !hasCgroups() {
		return "no control groups are mounted on /sys/fs/cgroup"
	}
	return ""
}

func hasCapabilities(want uint64) bool {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			have, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && have&want == want
		}
	}
	return false
}

// hasCgroups reports whether containers can be put into control groups, by
// either version.
func hasCgroups() bool {
	for _, path := range []string{"cgroup.controllers", "devices", "unified/cgroup.controllers"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", path)); err == nil {
			return true
		}
	}
	return false
}

// startLXD starts an LXD daemon that has nothing but the test image.
func (l *Lab) startLXD(ctx context.Context, builder image.Builder) error {
	if err := l.makeLXDDir(); err != nil {
		return fmt.Errorf("cannot start LXD: %w", err)
	}
	built, err := builder.Build(ctx)
	if err != nil {
		return err
	}
	if err := l.spawnLXD(ctx); err != nil {
		return err
	}
	return l.importImage(ctx, built)
}

// makeLXDDir makes LXD's directory; "lxd" in the lab's leads to it wherever it
// is.
func (l *Lab) makeLXDDir() error {
	if err := os.MkdirAll(l.LXDDir, 0o711); err != nil {
		return err
	}
	inside := filepath.Join(l.Dir, "lxd")
	if l.LXDDir == inside {
		return nil
	}
	return os.Symlink(l.LXDDir, inside)
}

func (l *Lab) spawnLXD(ctx context.Context) error {
	return l.start(ctx, spawn{
		name:  "lxd",
		argv:  []string{l.Program, "keep-lxd"},
		env:   append(l.daemonEnv(), "LXD_DIR="+l.LXDDir),
		ready: func(ctx context.Context) bool { return lxdReady(ctx, l.LXDSocket()) },
	})
}

// lxdReady asks the daemon what 'lxd waitready' asks it.
func lxdReady(ctx context.Context, socket string) bool {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lxd/internal/ready", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (l *Lab) importImage(ctx context.Context, built image.Image) error {
	server, err := connectLXD(ctx, l.LXDSocket())
	if err != nil {
		return err
	}
	defer server.Disconnect()
	metadata, err := os.Open(built.Metadata)
	if err != nil {
		return fmt.Errorf("cannot import the image: %w", err)
	}
	defer metadata.Close()
	rootfs, err := os.Open(built.Rootfs)
	if err != nil {
		return fmt.Errorf("cannot import the image: %w", err)
	}
	defer rootfs.Close()

	ctx, cancel := context.WithTimeout(ctx, lxdImportTimeout)
	defer cancel()
	operation, err := server.CreateImage(api.ImagesPost{}, &lxd.ImageCreateArgs{
		MetaFile: metadata, MetaName: filepath.Base(built.Metadata),
		RootfsFile: rootfs, RootfsName: filepath.Base(built.Rootfs),
		Type: "container",
	})
	if err != nil {
		return fmt.Errorf("cannot import the image: %w", err)
	}
	if err := operation.WaitContext(ctx); err != nil {
		return fmt.Errorf("cannot import the image: %w", err)
	}
	fingerprint, _ := operation.Get().Metadata["fingerprint"].(string)
	for _, alias := range imageAliases {
		post := api.ImageAliasesPost{}
		post.Name = alias
		post.Target = fingerprint
		if err := server.CreateImageAlias(post); err != nil {
			return fmt.Errorf("cannot name the image %s: %w", alias, err)
		}
	}
	return nil
}

// connectLXD returns a client whose calls end after lxdCallTimeout.
func connectLXD(ctx context.Context, socket string) (lxd.InstanceServer, error) {
	server, err := lxd.ConnectLXDUnixWithContext(ctx, socket, &lxd.ConnectionArgs{SkipGetServer: true})
	if err != nil {
		return nil, fmt.Errorf("cannot reach LXD at %s: %w", socket, err)
	}
	return server, nil
}

// emptyLXD removes everything that an LXD daemon holds, in the order in which
// it lets go, and returns what it removed.
func emptyLXD(ctx context.Context, socket string) (removed []string, err error) {
	server, err := connectLXD(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer server.Disconnect()
	var problems []error
	note := func(what string, names []string, err error) {
		for _, name := range names {
			removed = append(removed, what+" "+name)
		}
		problems = append(problems, err)
	}
	for _, kind := range []struct {
		what   string
		remove func(context.Context, lxd.InstanceServer) ([]string, error)
	}{
		{"instance", removeInstances},
		{"profile", removeProfiles},
		{"network", removeNetworks},
		{"network ACL", removeACLs},
		{"image", removeImages},
		{"storage pool", removePools},
	} {
		names, err := kind.remove(ctx, server)
		note(kind.what, names, err)
	}
	return removed, errors.Join(problems...)
}

func removeInstances(ctx context.Context, server lxd.InstanceServer) ([]string, error) {
	names, err := server.GetInstanceNames(api.InstanceTypeAny)
	if err != nil {
		return nil, err
	}
	return removeEach(names, func(name string) error { return removeInstance(ctx, server, name) })
}

// inMotion are LXD's words for an instance that takes no order just now: it is
// being started for somebody who was ended meanwhile, or powers itself off.
var inMotion = []string{"is busy running", "is running", "currently being created"}

// removeInstance stops and deletes an instance. One in motion takes no order until
// it has come to rest, and may have started when it has; one whose creation was
// given up is gone then.
func removeInstance(ctx context.Context, server lxd.InstanceServer, name string) error {
	ctx, cancel := context.WithTimeout(ctx, lxdCallTimeout)
	defer cancel()
	for {
		// A refusal to stop is mostly that it is stopped; else delete says so.
		operation, err := server.UpdateInstanceState(name, api.InstanceStatePut{Action: "stop", Force: true, Timeout: -1}, "")
		if err == nil {
			_ = wait(ctx, operation)
		}
		operation, err = server.DeleteInstance(name)
		if err == nil {
			err = wait(ctx, operation)
		}
		if err == nil {
			return nil
		}
		if _, _, getErr := server.GetInstance(name); api.StatusErrorCheck(getErr, http.StatusNotFound) {
			return nil
		}
		moves := func(words string) bool { return strings.Contains(err.Error(), words) }
		if !slices.ContainsFunc(inMotion, moves) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollInterval):
		}
	}
}

func removeNetworks(_ context.Context, server lxd.InstanceServer) ([]string, error) {
	networks, err := server.GetNetworks()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range networks {
		if n.Managed {
			names = append(names, n.Name)
		}
	}
	return removeEach(names, server.DeleteNetwork)
}

func removeACLs(_ context.Context, server lxd.InstanceServer) ([]string, error) {
	names, err := server.GetNetworkACLNames()
	if err != nil {
		return nil, err
	}
	return removeEach(names, server.DeleteNetworkACL)
}

func removeProfiles(_ context.Context, server lxd.InstanceServer) ([]string, error) {
	names, err := server.GetProfileNames()
	if err != nil {
		return nil, err
	}
	// LXD's own profile stays; empty it lets go of pools and networks.
	if err := server.UpdateProfile("default", api.ProfilePut{}, ""); err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "default" })
	return removeEach(names, server.DeleteProfile)
}

func removeImages(ctx context.Context, server lxd.InstanceServer) ([]string, error) {
	fingerprints, err := server.GetImageFingerprints()
	if err != nil {
		return nil, err
	}
	return removeEach(fingerprints, func(fingerprint string) error {
		operation, err := server.DeleteImage(fingerprint)
		if err != nil {
			return err
		}
		return wait(ctx, operation)
	})
}

func removePools(_ context.Context, server lxd.InstanceServer) ([]string, error) {
	names, err := server.GetStoragePoolNames()
	if err != nil {
		return nil, err
	}
	return removeEach(names, func(name string) error {
		volumes, err := server.GetStoragePoolVolumes(name)
		if err != nil {
			return err
		}
		for _, volume := range volumes {
			if volume.Type != "custom" {
				continue
			}
			if err := server.DeleteStoragePoolVolume(name, volume.Type, volume.Name); err != nil {
				return err
			}
		}
		return server.DeleteStoragePool(name)
	})
}

// removeEach removes what it can and returns the names that it removed.
func removeEach(names []string, remove func(name string) error) (removed []string, err error) {
	var problems []error
	for _, name := range names {
		if err := remove(name); err != nil {
			problems = append(problems, fmt.Errorf("cannot remove %s: %w", name, err))
			continue
		}
		removed = append(removed, name)
	}
	return removed, errors.Join(problems...)
}

func wait(ctx context.Context, operation lxd.Operation) error {
	ctx, cancel := context.WithTimeout(ctx, lxdCallTimeout)
	defer cancel()
	return operation.WaitContext(ctx)
}
