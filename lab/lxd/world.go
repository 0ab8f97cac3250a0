package lxd

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"
)

// A network, ACL, pool, profile or image is stored as its API shows it, but
// for used_by, which is worked out when somebody asks.

// imageReleases are the images that there are at first, by alias.
var imageReleases = map[string]string{"noble": "24.04", "jammy": "22.04"}

// architecture is this machine's, in LXD's words.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "aarch64"
	}
	return "x86_64"
}

// firstWorld is what a daemon has that was never used, but for the images.
func (s *Server) firstWorld() {
	now := time.Now().UTC()
	s.profiles["default"] = &api.Profile{
		Name: "default", Description: "Default LXD profile",
		Config: map[string]string{}, Devices: devices{},
	}
	for alias := range imageReleases {
		s.addFirstImage(alias, now)
		s.addFirstImage(vmPrefix+alias, now)
	}
}

// addFirstImage adds an image; those of containers have their name as an alias.
func (s *Server) addFirstImage(name string, now time.Time) {
	release, kind := imageKind(name)
	sum := sha256.Sum256([]byte(name))
	image := &storedImage{Image: api.Image{
		Fingerprint: hex.EncodeToString(sum[:]), Filename: "rootfs.squashfs", Size: 76419271, Type: kind,
		Architecture: architecture(), CreatedAt: now, UploadedAt: now,
		Profiles:   []string{"default"},
		Properties: map[string]string{"description": "lab runner image", "os": "ubuntu", "release": release},
	}}
	if kind == container {
		image.Aliases = []api.ImageAlias{{Name: name}}
	} else {
		image.Filename = "disk.qcow2"
	}
	s.images[image.Fingerprint] = image
}

// The folders of the stored state.
const (
	storedInstances = "instances"
	storedNetworks  = "networks"
	storedACLs      = "network-acls"
	storedPools     = "storage-pools"
	storedProfiles  = "profiles"
	storedImages    = "images"
	storedVolumes   = "volumes"
)

func (s *Server) stored(kind, name string) string {
	return filepath.Join(s.options.Dir, "lxd", "state", kind, url.PathEscape(name)+".json")
}

// keep stores one thing, so that it is there after the emulation was ended and
// started again. A failure is logged: the emulation goes on in memory.
func (s *Server) keep(kind, name string, thing any) {
	path := s.stored(kind, name)
	encoded, err := json.Marshal(thing)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", encoded, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		s.options.Log.WithError(err).Warnf("cannot store %s %s", kind, name)
	}
}

func (s *Server) forget(kind, name string) {
	if err := os.Remove(s.stored(kind, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.options.Log.WithError(err).Warnf("cannot remove the stored %s %s", kind, name)
	}
}

// load reads what an earlier process stored.
func (s *Server) load() error {
	if _, err := os.Stat(filepath.Join(s.options.Dir, "lxd", "state")); errors.Is(err, fs.ErrNotExist) {
		s.firstWorld()
		for name, p := range s.profiles {
			s.keep(storedProfiles, name, p)
		}
		for name, i := range s.images {
			s.keep(storedImages, name, i)
		}
		return nil
	}
	return errors.Join(
		loadInto(s, storedNetworks, s.networks),
		loadInto(s, storedACLs, s.acls),
		loadInto(s, storedPools, s.pools),
		loadInto(s, storedProfiles, s.profiles),
		loadInto(s, storedImages, s.images),
		loadInto(s, storedVolumes, s.volumes),
		loadInto(s, storedInstances, s.instances),
	)
}

func loadInto[T any](s *Server, kind string, into map[string]*T) error {
	entries, err := os.ReadDir(filepath.Dir(s.stored(kind, "")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot load the stored %s: %w", kind, err)
	}
	for _, entry := range entries {
		escaped, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok {
			continue
		}
		name, err := url.PathUnescape(escaped)
		if err != nil {
			return fmt.Errorf("cannot load the stored %s: %w", kind, err)
		}
		data, err := os.ReadFile(s.stored(kind, name))
		if err != nil {
			return fmt.Errorf("cannot load the stored %s: %w", kind, err)
		}
		thing := new(T)
		if err := json.Unmarshal(data, thing); err != nil {
			return fmt.Errorf("cannot load the stored %s %s: %w", kind, name, err)
		}
		into[name] = thing
	}
	return nil
}

// users are the paths of the instances and profiles for which uses holds;
// s.mu is held.
func (s *Server) users(uses func(all devices) bool) []string {
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(s.instances)) {
		if uses(s.instances[name].expandedDevices(s)) {
			paths = append(paths, "/1.0/instances/"+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.profiles)) {
		if uses(s.profiles[name].Devices) {
			paths = append(paths, "/1.0/profiles/"+url.PathEscape(name))
		}
	}
	return paths
}

// list answers with paths or, recursively, with the things themselves.
func list[T any](path string, things map[string]T, full bool, show func(T) any) answer {
	names := slices.Sorted(maps.Keys(things))
	if !full {
		paths := make([]string, 0, len(names))
		for _, name := range names {
			paths = append(paths, path+"/"+url.PathEscape(name))
		}
		return answer{metadata: paths}
	}
	shown := make([]any, 0, len(names))
	for _, name := range names {
		shown = append(shown, show(things[name]))
	}
	return answer{metadata: shown}
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its contract
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
