package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/lab"
	"github-runner/lab/archive"
)

const (
	// testAlias is a stock image that no lab has, so that it can lead to any.
	testAlias = "resolute"
	// poolSize has room for two images and some clones.
	poolSize = "6GiB"
)

// poolDrivers are the storage drivers that are measured where LXD has them.
var poolDrivers = [...]string{"btrfs", "zfs", "lvm", "dir"}

// images measures runner images on each storage driver: how large they are, how long
// the charm's recipe takes, and what a runner that starts from one saves. The packages
// of the image are stand-ins, which the stock image has with it.
func (s *session) images(ctx context.Context) (results []Result, err error) {
	on, err := s.stage(ctx)
	if err != nil {
		return nil, err
	}
	if on.cloud == lab.CloudEmulated {
		s.skip("images: an emulated image has no content; this needs real LXD")
		return nil, nil
	}
	if _, err := exec.LookPath(archive.Tool); err != nil {
		s.skip("images: packages can't be made here: %v", err)
		return nil, nil
	}
	server, err := on.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer server.Disconnect()
	info, _, err := server.GetServer()
	if err != nil {
		return nil, fmt.Errorf("cannot ask LXD for its storage drivers: %w", err)
	}
	if _, _, err := server.GetStoragePool(poolName); err == nil {
		s.skip("images: the lab has a storage pool %s, and this makes its own: remove the applications first", poolName)
		return nil, nil
	}
	for _, driver := range poolDrivers {
		supported := slices.ContainsFunc(info.Environment.StorageSupportedDrivers, func(d api.ServerStorageDriverInfo) bool { return d.Name == driver })
		if !supported {
			s.skip("images on %s: LXD says that it can't use it on this machine", driver)
			continue
		}
		measured, err := s.imagesOn(ctx, on, server, driver)
		results = append(results, measured...)
		if err != nil {
			return results, fmt.Errorf("on %s: %w", driver, err)
		}
	}
	return results, nil
}

// imagesOn measures images on one storage driver, with the pool that the charm's
// units share made on it.
func (s *session) imagesOn(ctx context.Context, on *stage, server client.InstanceServer, driver string) (results []Result, err error) {
	s.say("images: making a storage pool on %s", driver)
	if err := makePool(server, driver); err != nil {
		return nil, err
	}
	clean := context.WithoutCancel(ctx)
	// The charm removes it with its last unit.
	defer func() { err = errors.Join(err, ignoreMissing(server.DeleteStoragePool(poolName))) }()
	b, err := newBuilder(ctx, on, server)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close(clean)) }()
	u, err := newUnit(on, s.Charm, "images/0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, u.remove(clean)) }()
	u.config["base-image"] = testAlias
	// Network and profile are made, and the image is unpacked.
	if _, err := u.scale(ctx, 1); err != nil {
		return nil, err
	}
	f, err := newFloor(ctx, u)
	if err != nil {
		return nil, err
	}
	defer f.close()
	f.image = testAlias
	if _, err := u.scale(ctx, 0); err != nil {
		return nil, err
	}
	results, err = s.building(ctx, b, f, driver)
	if err != nil {
		return results, err
	}
	for _, one := range []struct{ name, fingerprint string }{{"stock", b.stock}, {"built", b.built}} {
		if err := b.point(one.fingerprint); err != nil {
			return results, err
		}
		measured, err := s.from(ctx, u, f, driver+", "+one.name, one.fingerprint)
		results = append(results, measured...)
		if err != nil {
			return results, fmt.Errorf("from the %s image: %w", one.name, err)
		}
	}
	return results, nil
}

// building measures one build, and compares the image with the stock image.
func (s *session) building(ctx context.Context, b *builder, f *floor, driver string) ([]Result, error) {
	plain, err := b.plain(ctx)
	if err != nil {
		return nil, err
	}
	took, err := b.build(ctx, f.application, func(line string) { s.say("images: %s: %s", driver, line) })
	if err != nil {
		return nil, err
	}
	s.say("images: %s: built in %.1f s, by plain calls %.1f s", driver, took.Seconds(), plain.Seconds())
	stock, _, err := b.server.GetImage(b.stock)
	if err != nil {
		return nil, fmt.Errorf("cannot look up the stock image: %w", err)
	}
	built, _, err := b.server.GetImage(b.built)
	if err != nil {
		return nil, fmt.Errorf("cannot look up the image that was built: %w", err)
	}
	one := func(value float64) Spread { return Spread{value, value, value} }
	megabytes := func(image *api.Image) Spread { return one(float64(image.Size) / 1e6) }
	return []Result{
		Result{Benchmark: "images", Case: driver, Figure: "size of the built image; of the stock image", Unit: "MB", Charm: megabytes(built)}.against(megabytes(stock)),
		Result{Benchmark: "images", Case: driver, Figure: "building", Unit: "s", Charm: one(took.Seconds())}.against(one(plain.Seconds())),
	}, nil
}

// begun are the measurements of machines that one way begins from an image, in
// seconds.
type begun struct{ first, next, online float64 }

func firstSeconds(b begun) float64 { return b.first }
func nextSeconds(b begun) float64  { return b.next }
func begunSeconds(b begun) float64 { return b.online }

// from measures the start of machines from the image that testAlias leads to: LXD's
// creation alone, of a machine as the charm makes it and of a bare container, where the
// image has to be unpacked and where it was; then until a runner is online.
func (s *session) from(ctx context.Context, u *unit, f *floor, name, fingerprint string) ([]Result, error) {
	var charm, floor []begun
	for round := range s.Rounds {
		var ours, plain begun
		turns := []func() error{
			func() (err error) { ours, err = f.begin(ctx, fingerprint, false); return err },
			func() (err error) { plain, err = f.begin(ctx, fingerprint, true); return err },
			func() error {
				one, err := u.start(ctx, 1)
				ours.online = one.Online.Seconds()
				return err
			},
			func() error {
				one, err := f.start(ctx, 1)
				plain.online = one.Online.Seconds()
				return err
			},
		}
		// The image is unpacked when runners are measured, and the ways take turns in
		// going first.
		for _, turn := range []int{round % 2, 1 - round%2, 2 + round%2, 3 - round%2} {
			if err := turns[turn](); err != nil {
				return nil, err
			}
		}
		charm, floor = append(charm, ours), append(floor, plain)
		s.say("images: %s, round %d of %d: created in %.2f s and %.2f s (floor %.2f and %.2f), online after %.2f s (%.2f)",
			name, round+1, s.Rounds, ours.first, ours.next, plain.first, plain.next, ours.online, plain.online)
	}
	result := func(figure string, of func(begun) float64) Result {
		return Result{Benchmark: "images", Case: name, Figure: figure, Unit: "s", Charm: spreadOf(charm, of)}.against(spreadOf(floor, of))
	}
	return []Result{
		result("first create", firstSeconds),
		result("next create", nextSeconds),
		result("until a runner is online at GitHub", begunSeconds),
	}, nil
}

// makePool makes the pool that the charm's units share.
func makePool(server client.InstanceServer, driver string) error {
	request := api.StoragePoolsPost{Name: poolName, Driver: driver}
	if driver != "dir" {
		request.Config = map[string]string{"size": poolSize}
	}
	if err := server.CreateStoragePool(request); err != nil {
		return fmt.Errorf("cannot make the storage pool %s: %w", poolName, err)
	}
	return nil
}

func ignoreMissing(err error) error {
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		return nil
	}
	return err
}
