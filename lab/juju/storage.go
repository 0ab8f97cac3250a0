package juju

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// storage is one storage of a model. It outlives the unit that it was made for
// where it was detached before.
type storage struct {
	Kind string `json:"kind"`
	// Location is where it is seen while it is attached; what it keeps lies
	// beside it, in a file or a folder of the same name with an end to it.
	Location string `json:"location"`
	// Size is in bytes, 0 for a plain folder.
	Size int64 `json:"size"`
	// Detaching: the unit lets go of it.
	Detaching bool      `json:"detaching"`
	Since     time.Time `json:"since"`
}

// wish is how many of a storage are wanted, and how large.
type wish struct {
	count int
	size  int64
}

// storageTimeout bounds the making of a file system.
const storageTimeout = time.Minute

var storageSize = regexp.MustCompile(`^(\d+(?:\.\d+)?)([MGTPEZY])(?:i?B)?$`)

// parseSize reads a size as Juju does: "100M", "1.5G"; without a unit it would be
// taken for a count.
func parseSize(text string) (int64, error) {
	parts := storageSize.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("expected a non-negative number with optional multiplier suffix (M/G/T/P/E/Z/Y), got %q", text)
	}
	number, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return 0, fmt.Errorf("invalid size %q: %w", text, err)
	}
	size := number * float64(int64(1)<<20)
	for range strings.Index("MGTPEZY", parts[2]) {
		size *= 1 << 10
	}
	if size >= 1<<62 {
		return 0, fmt.Errorf("a storage of %s is too large", text)
	}
	return int64(size), nil
}

// wantedStorage reads --storage NAME[=[POOL,]SIZE[,COUNT]]; a storage that the
// charm requires is there without it.
func (c charm) wantedStorage(directives list) (map[string]wish, error) {
	wanted := map[string]wish{}
	for name, spec := range c.Storage {
		wanted[name] = wish{count: spec.Min}
	}
	for _, directive := range directives {
		name, text, _ := strings.Cut(directive, "=")
		spec, ok := c.Storage[name]
		if !ok {
			return nil, fmt.Errorf("charm %q has no store called %q", c.Name, name)
		}
		w, err := parseWish(text, max(spec.Min, 1))
		if err != nil {
			return nil, fmt.Errorf("cannot parse storage %q: %w", directive, err)
		}
		if w.count < spec.Min || spec.Max >= 0 && w.count > spec.Max {
			return nil, fmt.Errorf("charm %q store %q: %d instances requested, %d to %d are allowed", c.Name, name, w.count, spec.Min, spec.Max)
		}
		wanted[name] = w
	}
	return wanted, nil
}

var poolName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*$`)

func parseWish(text string, count int) (wish, error) {
	w := wish{count: count}
	if text == "" {
		return w, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		if n, err := strconv.Atoi(part); err == nil {
			w.count = n
			continue
		}
		if poolName.MatchString(part) {
			continue
		}
		size, err := parseSize(part)
		if err != nil {
			return w, err
		}
		w.size = size
	}
	return w, nil
}

// addStorage gives a unit a new storage, which is made before the hook that tells
// of it. The lock is held.
func (s *Server) addStorage(m *model, a *application, u *unit, name string, size int64) string {
	id := name + "/" + strconv.Itoa(m.Storages)
	m.Storages++
	u.Storage[id] = storage{
		Kind: a.Charm.Storage[name].Type, Size: size, Since: time.Now(),
		Location: s.path("models", m.Name, "storage", strings.ReplaceAll(id, "/", "-")),
	}
	s.queueStorage(u, id, "attached")
	return id
}

// queueStorage queues a hook about a storage. The lock is held.
func (s *Server) queueStorage(u *unit, id, what string) {
	s.queue(u, u.storageOperation(id, what))
}

func (u *unit) storageOperation(id, what string) operation {
	name, _, _ := strings.Cut(id, "/")
	o := newOperation(name+"-storage-"+what, u.storageVariables(id)...)
	o.Storage = id
	return o
}

func (u *unit) storageVariables(id string) []string {
	return []string{
		"JUJU_STORAGE_ID=" + id,
		"JUJU_STORAGE_LOCATION=" + u.Storage[id].Location,
		"JUJU_STORAGE_KIND=" + u.Storage[id].Kind,
	}
}

func (o operation) detaches() bool {
	return o.Storage != "" && strings.HasSuffix(o.Hook, "-storage-detaching")
}

func (st storage) file() string   { return st.Location + ".img" }
func (st storage) folder() string { return st.Location + ".folder" }

// canMount says why this process can't give a storage a file system of its own.
func canMount() error {
	if os.Geteuid() != 0 {
		return errors.New("that takes root")
	}
	_, err := exec.LookPath("mkfs.ext4")
	return err
}

// attach makes a storage be seen at its location: a file system of its size, or a
// plain folder, which plain explains.
func (st storage) attach(ctx context.Context) (plain, err error) {
	if _, err := os.Stat(st.Location); err == nil {
		return nil, nil // an earlier attempt at the hook did it
	}
	if err := os.MkdirAll(filepath.Dir(st.Location), 0o755); err != nil {
		return nil, err
	}
	if st.Size > 0 {
		if plain = canMount(); plain == nil {
			plain = st.mount(ctx)
		}
		if plain == nil {
			return nil, nil
		}
	}
	if err := os.Mkdir(st.folder(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return plain, err
	}
	return plain, os.Rename(st.folder(), st.Location)
}

// mount mounts the storage's own file system, which it makes first.
func (st storage) mount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	if _, err := os.Stat(st.file()); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(st.file(), nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(st.file(), st.Size); err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", st.file()).CombinedOutput(); err != nil {
			return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
		}
	}
	if err := os.Mkdir(st.Location, 0o755); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "mount", "-o", "loop", st.file(), st.Location).CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("mount: %w: %s", err, out), os.Remove(st.Location))
	}
	return nil
}

// detach makes a storage be seen no longer; what is in it stays. One that is in
// use is taken away all the same, and that is an error.
func (st storage) detach() error {
	if _, err := os.Stat(st.file()); err != nil {
		err := os.Rename(st.Location, st.folder())
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	err := unix.Unmount(st.Location, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		err = errors.Join(fmt.Errorf("cannot unmount %s: %w", st.Location, err), unix.Unmount(st.Location, unix.MNT_DETACH))
	} else {
		err = nil
	}
	if gone := os.Remove(st.Location); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// destroy removes a storage with all that is in it.
func (st storage) destroy() error {
	return errors.Join(st.detach(), os.RemoveAll(st.file()), os.RemoveAll(st.folder()))
}

// makeStorage attaches what a hook is about to tell of.
func (g *agent) makeStorage(ctx context.Context, s *Server, o operation) error {
	if o.Storage == "" || o.detaches() {
		return nil
	}
	s.mu.Lock()
	wanted, ok := g.unit.Storage[o.Storage]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	plain, err := wanted.attach(ctx)
	if plain != nil {
		s.logFile.write(g.unit.tag(), "WARNING", "juju.worker.storageprovisioner", fmt.Sprintf("storage %s is a plain folder of any size: %v", o.Storage, plain))
	}
	if err != nil {
		return fmt.Errorf("cannot attach storage %s: %w", o.Storage, err)
	}
	return nil
}

// letGo takes away a storage whose detaching hook has succeeded. The lock is held.
func (g *agent) letGo(s *Server, id string) {
	detached, ok := g.unit.Storage[id]
	if !ok {
		return
	}
	if err := detached.detach(); err != nil {
		s.logFile.write(g.unit.tag(), "ERROR", "juju.worker.storageprovisioner", fmt.Sprintf("cannot detach storage %s: %v", id, err))
	}
	if g.unit.Dying {
		return // it goes with the unit
	}
	delete(g.unit.Storage, id)
	detached.Detaching, detached.Since = false, time.Now()
	if g.model.Detached == nil {
		g.model.Detached = map[string]storage{}
	}
	g.model.Detached[id] = detached
}

// holder returns the unit that a storage is attached to, or none.
func (m *model) holder(id string) (*application, *unit) {
	for _, a := range m.Applications {
		for _, u := range a.Units {
			if _, ok := u.Storage[id]; ok {
				return a, u
			}
		}
	}
	return nil, nil
}

// storages are all of a model's, with the names of their units.
func (m *model) storages() (all map[string]storage, units map[string]string) {
	all, units = maps.Clone(m.Detached), map[string]string{}
	if all == nil {
		all = map[string]storage{}
	}
	for _, a := range m.Applications {
		for _, u := range a.Units {
			for id, st := range u.Storage {
				all[id], units[id] = st, u.Name
			}
		}
	}
	return all, units
}

// sortedStorages are the ids in the order of Juju's table: by unit, then by id.
func sortedStorages(all map[string]storage, units map[string]string) []string {
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if c := strings.Compare(units[a], units[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
}
