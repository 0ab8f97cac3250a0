package lxd

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
	"github.com/canonical/lxd/shared/units"
	"golang.org/x/sys/unix"
)

const (
	defaultPoolSize = "20GiB"
	smallestBtrfs   = 114294784
)

// findSources looks, as a daemon that starts does, whether what pools are made on
// is there. Those in files of the daemon's own are.
func (s *Server) findSources() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.pools {
		source := p.Config["source"]
		if strings.HasPrefix(source, filepath.Join(s.options.Dir, "lxd")+"/") {
			continue
		}
		p.Status = "Created"
		if _, err := os.Stat(source); err != nil {
			s.options.Log.WithError(err).Warnf("Failed mounting storage pool %s", name)
			p.Status = "Unavailable"
		}
	}
}

// lostPool is the name of the instance's pool where that is not available.
func (s *Server) lostPool(i *instance) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pools[rootPool(i.expandedDevices(s))]; p != nil && p.Status == "Unavailable" {
		return p.Name
	}
	return ""
}

// showPool is a pool as the API shows it; s.mu is held.
func (s *Server) showPool(p *api.StoragePool) api.StoragePool {
	shown := *p
	shown.UsedBy = s.users(func(all devices) bool {
		for _, device := range all {
			if device["type"] == "disk" && device["pool"] == p.Name {
				return true
			}
		}
		return false
	})
	for key := range s.volumes {
		if pool, volume, _ := strings.Cut(key, "/"); pool == p.Name {
			shown.UsedBy = append(shown.UsedBy, "/1.0/storage-pools/"+pool+"/volumes/custom/"+volume)
		}
	}
	slices.Sort(shown.UsedBy)
	return shown
}

func poolETag(p *api.StoragePool) any {
	return []any{p.Name, p.Driver, p.Description, p.Config}
}

func (s *Server) findPool(r *http.Request) (*api.StoragePool, error) {
	p := s.pools[r.PathValue("name")]
	if p == nil {
		return nil, notFound("Storage pool")
	}
	return p, nil
}

func (s *Server) getPools(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return list("/1.0/storage-pools", s.pools, recursion(r) == "1", func(p *api.StoragePool) any { return s.showPool(p) }), nil
}

func (s *Server) getPool(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	return answer{metadata: s.showPool(p), etag: poolETag(p)}, nil
}

func (s *Server) postPools(r *http.Request) (answer, error) {
	var post api.StoragePoolsPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case post.Name == "":
		return answer{}, refuse(http.StatusBadRequest, "No name provided")
	case strings.Contains(post.Name, "/"):
		return answer{}, refuse(http.StatusBadRequest, "Storage pool names may not contain slashes")
	case post.Driver == "":
		return answer{}, refuse(http.StatusBadRequest, "No driver provided")
	case s.pools[post.Name] != nil:
		return answer{}, refuse(http.StatusConflict, "The storage pool already exists: The record already exists")
	case poolKeys[post.Driver] == nil:
		return answer{}, says("Unknown driver")
	}
	if err := checkPool(post.Driver, post.Config); err != nil {
		return answer{}, err
	}
	p := &api.StoragePool{
		Name: post.Name, Driver: post.Driver, Description: post.Description,
		Status: "Created", Config: merge(nil, post.Config), Locations: []string{"none"},
	}
	if err := s.openSource(p); err != nil {
		return answer{}, err
	}
	s.pools[p.Name] = p
	s.keep(storedPools, p.Name, p)
	s.events.lifecycle("storage-pool-created", "storage-pools/"+p.Name, nil, true)
	return answer{location: "/1.0/storage-pools/" + p.Name}, nil
}

// openSource checks where a new pool is to be, or decides it.
func (s *Server) openSource(p *api.StoragePool) error {
	source := p.Config["source"]
	switch {
	case p.Driver == "dir" && source == "":
		p.Config["source"] = filepath.Join(s.options.Dir, "lxd", "storage-pools", p.Name)
		return nil
	case p.Driver == "dir":
		return emptyFolder(source)
	case source == "":
		return s.loopFile(p)
	}
	return subvolume(source)
}

// subvolume makes what stands for a btrfs subvolume, where the real one could be
// made.
func subvolume(source string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(source, &fs); !errors.Is(err, os.ErrNotExist) {
		if err != nil || int64(fs.Type) != unix.BTRFS_SUPER_MAGIC {
			return says("Provided path does not reside on a btrfs filesystem")
		}
		return emptyFolder(source)
	}
	if err := unix.Statfs(filepath.Dir(source), &fs); err != nil {
		return says("Failed to run: btrfs subvolume create %s: exit status 1 (ERROR: cannot access '%s': No such file or directory)", source, filepath.Dir(source))
	}
	if int64(fs.Type) != unix.BTRFS_SUPER_MAGIC {
		return says("Failed to run: btrfs subvolume create %s: exit status 1 (ERROR: not a btrfs filesystem: %s)", source, filepath.Dir(source))
	}
	return os.Mkdir(source, 0o711)
}

func emptyFolder(source string) error {
	entries, err := os.ReadDir(source)
	switch {
	case os.IsNotExist(err):
		return says("Source path '%s' doesn't exist", source)
	case err != nil:
		return err
	case len(entries) > 0:
		return says("Source path '%s' isn't empty", source)
	}
	return nil
}

// loopFile gives a pool a file of its own.
func (s *Server) loopFile(p *api.StoragePool) error {
	p.Config["source"] = filepath.Join(s.options.Dir, "lxd", "disks", p.Name+".img")
	if p.Config["size"] == "" {
		p.Config["size"] = defaultPoolSize
	}
	size, err := units.ParseByteSizeString(p.Config["size"])
	if err != nil {
		return err
	}
	if size < smallestBtrfs {
		return says("Failed to format sparse file: Failed to run: mkfs.btrfs -L %s %s: exit status 1 (ERROR: '%s' is too small to make a usable filesystem\nERROR: minimum size for each btrfs device is %d)", p.Name, p.Config["source"], p.Config["source"], smallestBtrfs)
	}
	return nil
}

func (s *Server) putPool(r *http.Request) (answer, error) {
	return s.changePool(r, false)
}

func (s *Server) patchPool(r *http.Request) (answer, error) {
	return s.changePool(r, true)
}

func (s *Server) changePool(r *http.Request, patch bool) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	if err := checkETag(r, poolETag(p)); err != nil {
		return answer{}, err
	}
	var put api.StoragePoolPut
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	config := merge(nil, put.Config)
	if patch {
		config = merge(p.Config, put.Config)
	}
	if err := checkPool(p.Driver, config); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "%v", err)
	}
	if config["source"] != p.Config["source"] {
		return answer{}, says("Pool source cannot be changed when not in pending state")
	}
	p.Config, p.Description = config, put.Description
	s.keep(storedPools, p.Name, p)
	s.events.lifecycle("storage-pool-updated", "storage-pools/"+p.Name, nil, true)
	return empty, nil
}

func (s *Server) deletePool(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	if len(s.showPool(p).UsedBy) > 0 {
		return answer{}, refuse(http.StatusBadRequest, "The storage pool is currently in use")
	}
	if source := p.Config["source"]; p.Driver == "btrfs" && filepath.Base(source) != p.Name+".img" {
		if err := os.RemoveAll(source); err != nil {
			return answer{}, err
		}
	}
	if p.Driver == "dir" {
		// LXD removes all that is there, whoever made it.
		entries, err := os.ReadDir(p.Config["source"])
		if err != nil && !os.IsNotExist(err) {
			return answer{}, err
		}
		for _, entry := range entries {
			if err := os.RemoveAll(filepath.Join(p.Config["source"], entry.Name())); err != nil {
				return answer{}, err
			}
		}
	}
	delete(s.pools, p.Name)
	s.forget(storedPools, p.Name)
	s.events.lifecycle("storage-pool-deleted", "storage-pools/"+p.Name, nil, true)
	return empty, nil
}

func (s *Server) getPoolResources(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[r.PathValue("name")]
	if p == nil {
		return answer{}, says("Storage pool not found")
	}
	var resources api.ResourcesStoragePool
	resources.Space.Total = 1 << 40
	if size, err := units.ParseByteSizeString(p.Config["size"]); err == nil && size > 0 {
		resources.Space.Total = uint64(size)
	}
	resources.Space.Used = resources.Space.Total / 20
	if s.faults.Take(PoolFull, p.Name) != nil {
		resources.Space.Used = resources.Space.Total
	}
	return answer{metadata: resources}, nil
}

// showVolumes are a pool's volumes: those of its instances and custom ones;
// s.mu is held.
func (s *Server) showVolumes(pool string) map[string]api.StorageVolume {
	all := make(map[string]api.StorageVolume)
	for name, i := range s.instances {
		if rootPool(i.expandedDevices(s)) == pool {
			kind, content := i.volumeOf()
			all[kind+"/"+name] = api.StorageVolume{
				Name: name, Type: kind, ContentType: content, Location: "none", Project: "default",
				Config: map[string]string{}, UsedBy: []string{"/1.0/instances/" + name},
			}
		}
	}
	for key, v := range s.volumes {
		if p, volume, _ := strings.Cut(key, "/"); p == pool {
			all["custom/"+volume] = *v
		}
	}
	return all
}

// showVolume is a volume as servers of 5.0 show it.
func showVolume(volume api.StorageVolume) any {
	shown, err := without(volume, "pool")
	if err != nil {
		return volume
	}
	return shown
}

func (s *Server) getVolumes(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	base := "/1.0/storage-pools/" + p.Name + "/volumes"
	volumes := s.showVolumes(p.Name)
	if recursion(r) != "1" {
		paths := []string{}
		for key := range volumes {
			paths = append(paths, base+"/"+key)
		}
		slices.Sort(paths)
		return answer{metadata: paths}, nil
	}
	return list(base, volumes, true, showVolume), nil
}

func (s *Server) getVolume(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	v, ok := s.showVolumes(p.Name)[r.PathValue("type")+"/"+r.PathValue("volume")]
	if !ok {
		return answer{}, notFound("Storage pool volume")
	}
	return answer{metadata: showVolume(v), etag: v.Config}, nil
}

func (s *Server) postVolumes(r *http.Request) (answer, error) {
	var post api.StorageVolumesPost
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	key := p.Name + "/" + post.Name
	switch {
	case post.Name == "":
		return answer{}, refuse(http.StatusBadRequest, "No name provided")
	case s.volumes[key] != nil:
		return answer{}, refuse(http.StatusConflict, "Volume by that name already exists")
	}
	s.volumes[key] = &api.StorageVolume{
		Name: post.Name, Type: "custom", ContentType: "filesystem", Location: "none", Project: "default",
		Config: merge(nil, post.Config), UsedBy: []string{},
	}
	s.keep(storedVolumes, key, s.volumes[key])
	return empty, nil
}

func (s *Server) deleteVolume(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.findPool(r)
	if err != nil {
		return answer{}, err
	}
	key := p.Name + "/" + r.PathValue("volume")
	if r.PathValue("type") != "custom" || s.volumes[key] == nil {
		return answer{}, notFound("Storage pool volume")
	}
	delete(s.volumes, key)
	s.forget(storedVolumes, key)
	return empty, nil
}
