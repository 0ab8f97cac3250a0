package lxd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/clock"
)

// find returns an instance; s.mu is held.
func (s *Server) find(name string) (*instance, error) {
	i := s.instances[name]
	if i == nil {
		return nil, notFound("Instance")
	}
	return i, nil
}

func (s *Server) getInstances(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chosen := s.chosen(r)
	encoded := make([][]byte, 0, len(chosen))
	for _, i := range chosen {
		element, err := s.encode(i, recursion(r))
		if err != nil {
			return answer{}, err
		}
		encoded = append(encoded, element)
	}
	return answer{raw: encoded}, nil
}

// chosen are the instances that a list is about, sorted; s.mu is held.
func (s *Server) chosen(r *http.Request) []*instance {
	query := r.URL.Query()
	if project := query.Get("project"); project != "" && project != "default" {
		return nil
	}
	kind := query.Get("instance-type")
	name, byName := strings.CutPrefix(query.Get("filter"), "name eq ")
	var all []*instance
	for _, key := range slices.Sorted(maps.Keys(s.instances)) {
		i := s.instances[key]
		if kind != "" && kind != i.Type || byName && strings.Trim(name, `"'`) != i.Name {
			continue
		}
		all = append(all, i)
	}
	return all
}

func (s *Server) encode(i *instance, recursion string) ([]byte, error) {
	switch recursion {
	case "1":
		return i.json(s)
	case "2":
		return json.Marshal(i.full(s))
	default:
		return json.Marshal("/1.0/instances/" + i.Name)
	}
}

func (s *Server) getInstance(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	if recursion(r) == "1" {
		return answer{metadata: i.full(s), etag: i.etag()}, nil
	}
	return answer{metadata: i.show(s), etag: i.etag()}, nil
}

// postInstances checks what LXD checks before it answers; the rest is the
// operation's.
func (s *Server) postInstances(r *http.Request) (answer, error) {
	var post api.InstancesPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	kind := string(post.Type)
	switch {
	case kind == "":
		kind = container
	case kind != container && kind != virtualMachine:
		return answer{}, refuse(http.StatusBadRequest, "Invalid instance type")
	}
	if post.Source.Type != "image" && post.Source.Type != "none" {
		return answer{}, refuse(http.StatusBadRequest, "Unknown source type %s", post.Source.Type)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := s.source(post.Source)
	if err != nil {
		return answer{}, err
	}
	if post.Profiles == nil {
		post.Profiles = []string{"default"}
	}
	for _, name := range post.Profiles {
		if s.profiles[name] == nil {
			return answer{}, refuse(http.StatusInternalServerError, "Requested profile %q doesn't exist", name)
		}
	}
	if post.Name == "" {
		post.Name = "unnamed-" + newUUID()[:8]
	}
	if err := isHostLabel(post.Name); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "Invalid instance name: %v", err)
	}
	paths := (&instance{Name: post.Name, Type: kind}).resources()
	return answer{operation: s.operations.begin("Creating instance", paths, func(ctx context.Context) (map[string]any, error) {
		return s.create(ctx, post, kind, image)
	})}, nil
}

// source finds the image that a new instance is made from; nil when the
// fingerprint is unknown, which the operation complains of.
func (s *Server) source(source api.InstanceSource) (*storedImage, error) {
	if source.Type == "none" {
		return &storedImage{}, nil
	}
	if source.Alias != "" {
		return s.aliased(source.Alias)
	}
	if source.Fingerprint == "" {
		return nil, says("Must specify one of alias, fingerprint or properties for init from image")
	}
	for name, image := range s.images {
		if strings.HasPrefix(name, source.Fingerprint) {
			return image, nil
		}
	}
	return nil, nil
}

// create is the operation that makes an instance.
func (s *Server) create(ctx context.Context, post api.InstancesPost, kind string, image *storedImage) (map[string]any, error) {
	switch {
	case image == nil:
		return nil, says("Image not provided for instance creation")
	case post.Source.Type == "image" && image.Type != kind:
		return nil, says("Requested image's type %q doesn't match instance type %q", image.Type, kind)
	}
	i, err := s.record(post, kind, image)
	if err != nil {
		return nil, says("Failed creating instance record: %w", err)
	}
	if err := s.unpack(ctx, i); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.busy = ""
	s.changed(i)
	return nil, nil
}

// record makes the instance, without a root disk as yet.
func (s *Server) record(post api.InstancesPost, kind string, image *storedImage) (*instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == virtualMachine {
		if err := s.noVirtualMachines(); err != nil {
			return nil, err
		}
	}
	if err := checkConfig(post.Config, kind); err != nil {
		return nil, err
	}
	if existing := s.instances[post.Name]; existing != nil {
		if existing.busy != "" {
			return nil, says("Instance is busy running a %q operation", existing.busy)
		}
		return nil, says("Add instance info to the database: This \"instances\" entry already exists")
	}
	i := &instance{
		Name: post.Name, Type: kind, Description: post.Description,
		Ephemeral: post.Ephemeral, Created: time.Now().UTC(), LastUsed: time.Unix(0, 0).UTC(),
		Config: s.firstConfig(post, kind, image), Devices: post.Devices, Profiles: post.Profiles,
		Files: make(map[string]string), busy: "create",
	}
	maps.Copy(i.Files, image.Files)
	if i.Devices == nil {
		i.Devices = make(devices)
	}
	if err := s.checkNew(i); err != nil {
		return nil, says("Failed initialising instance: %w", err)
	}
	s.instances[i.Name] = i
	s.changed(i)
	s.events.lifecycle("instance-created", "instances/"+i.Name, map[string]any{
		"type": kind, "storage-pool": rootPool(i.expandedDevices(s)),
	}, false)
	return i, nil
}

// firstConfig is a new instance's configuration with what LXD adds to it.
func (s *Server) firstConfig(post api.InstancesPost, kind string, image *storedImage) map[string]string {
	config := maps.Clone(post.Config)
	if config == nil {
		config = make(map[string]string)
	}
	for key, value := range image.Properties {
		config["image."+key] = value
	}
	if image.Fingerprint != "" {
		config["volatile.base_image"] = image.Fingerprint
	}
	config["volatile.apply_template"] = "create"
	config["volatile.cloud-init.instance-id"] = newUUID()
	config["volatile.uuid"] = newUUID()
	if kind == container {
		config["volatile.idmap.base"] = "0"
		config["volatile.idmap.next"] = idmap
		config["volatile.last_state.idmap"] = "[]"
	}
	id := newUUID()
	config["volatile.eth0.hwaddr"] = fmt.Sprintf("00:16:3e:%s:%s:%s", id[0:2], id[2:4], id[4:6])
	return config
}

// idmap is how a daemon that runs as root maps the ids of a container.
const idmap = `[{"Isuid":true,"Isgid":false,"Hostid":100000,"Nsid":0,"Maprange":10000001},{"Isuid":false,"Isgid":true,"Hostid":100000,"Nsid":0,"Maprange":10000001}]`

func (s *Server) checkNew(i *instance) error {
	if err := s.checkDevices(i.Devices); err != nil {
		return says("Invalid devices: %w", err)
	}
	all := i.expandedDevices(s)
	pool := rootPool(all)
	if pool == "" {
		return says("Failed getting root disk: No root device could be found")
	}
	if s.pools[pool] == nil {
		return says("Failed loading storage pool: Storage pool not found")
	}
	return checkSources(all, "add")
}

// unpack fills the root disk, where faults let it.
func (s *Server) unpack(ctx context.Context, i *instance) error {
	if s.faults.Take(CreateHangs, i.Name) != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if f := s.faults.Take(CreateHalf, i.Name); f != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		i.busy = ""
		s.changed(i)
		return says("Failed creating instance from image: %s", f.Says("Failed to unpack the image: I/O error"))
	}
	if err := clock.Pause(ctx, s.options.Timing.Create); err != nil {
		// The daemon ends; the record stays.
		s.mu.Lock()
		defer s.mu.Unlock()
		i.busy = ""
		return err
	}
	message := ""
	if f := s.faults.Take(CreateFails, i.Name); f != nil {
		message = f.Says("Failed to run: unsquashfs: exit status 1")
	} else if s.faults.Take(PoolFull, i.Name) != nil {
		message = "Unable to unpack image, run out of disk space"
	} else if s.faults.Take(DiskQuota, i.Name) != nil {
		message = "Failed to run: btrfs qgroup limit -e none 0/259 " + i.Name + ": exit status 1 (ERROR: unable to limit requested quota group: Disk quota exceeded)"
	} else if s.lostPool(i) != "" {
		message = "Storage pool is unavailable on this server"
	}
	if message == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(i)
	return says("Failed creating instance from image: %s", message)
}

// drop forgets an instance; s.mu is held.
func (s *Server) drop(i *instance) {
	delete(s.instances, i.Name)
	s.forget(storedInstances, i.Name)
	s.events.lifecycle("instance-deleted", "instances/"+i.Name, nil, false)
}

func (s *Server) putInstance(r *http.Request) (answer, error) {
	var put api.InstancePut
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	if err := checkETag(r, i.etag()); err != nil {
		return answer{}, err
	}
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	return answer{operation: s.operations.begin("Updating instance", i.resources(), func(context.Context) (map[string]any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return nil, s.update(i, put)
	})}, nil
}

func (s *Server) patchInstance(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	if err := checkETag(r, i.etag()); err != nil {
		return answer{}, err
	}
	// What the request does not name stays as it is.
	put := api.InstancePut{
		Config: maps.Clone(i.Config), Devices: maps.Clone(i.Devices), Profiles: i.Profiles,
		Description: i.Description, Ephemeral: i.Ephemeral,
	}
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	if err := s.update(i, put); err != nil {
		return answer{}, refuse(http.StatusInternalServerError, "%v", err)
	}
	return empty, nil
}

// update replaces what a client may replace; s.mu is held.
func (s *Server) update(i *instance, put api.InstancePut) error {
	if err := checkConfig(put.Config, i.Type); err != nil {
		return says("Invalid config: %w", err)
	}
	if err := s.checkDevices(put.Devices); err != nil {
		return says("Invalid devices: %w", err)
	}
	for key := range i.Config {
		if _, kept := put.Config[key]; !kept && strings.HasPrefix(key, "volatile.idmap.") {
			return says("Volatile idmap keys can't be deleted by the user")
		}
	}
	i.Config, i.Devices, i.Profiles = put.Config, put.Devices, put.Profiles
	i.Description, i.Ephemeral = put.Description, put.Ephemeral
	s.changed(i)
	s.events.lifecycle("instance-updated", "instances/"+i.Name, nil, false)
	return nil
}

func (s *Server) deleteInstance(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	if i.running {
		return answer{}, refuse(http.StatusBadRequest, "Instance is running")
	}
	return answer{operation: s.operations.begin("Deleting instance", i.resources(), func(ctx context.Context) (map[string]any, error) {
		return nil, s.remove(ctx, i)
	})}, nil
}

// remove is the operation that deletes an instance.
func (s *Server) remove(ctx context.Context, i *instance) error {
	if err := s.occupy(i, "delete"); err != nil {
		return says("Failed deleting instance %q in project \"default\": %w", i.Name, err)
	}
	defer s.release(i)
	if s.faults.Take(DeleteHangs, i.Name) != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	if f := s.faults.Take(DeleteFails, i.Name); f != nil {
		return says("Error deleting storage volume: %s", f.Says("device or resource busy"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.Config["security.protection.delete"] == "true" {
		return says("Instance is protected")
	}
	s.drop(i)
	return nil
}

// occupy marks an instance as busy, unless it is already.
func (s *Server) occupy(i *instance, operation string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instances[i.Name] != i {
		return says("Instance not found")
	}
	if i.busy != "" {
		return says("Instance is busy running a %q operation", i.busy)
	}
	i.busy = operation
	return nil
}

func (s *Server) release(i *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i.busy = ""
}
