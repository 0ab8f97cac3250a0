//go:build openstack

package lab

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/lab/project"
	"github-runner/lab/skip"
)

// A real OpenStack comes up, has servers, and leaves nothing on the machine.
func TestRealOpenStackUpAndDown(t *testing.T) {
	options, progress := testOptions(t, CloudOpenStack)
	if obstacle := openStackObstacle("fake", options.Images); obstacle != "" {
		skip.Because(t, "a real OpenStack can't run here: %s", obstacle)
	}
	options.Program = builtProgram(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	l, err := Up(ctx, options)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress)
	}
	t.Cleanup(func() {
		if err := Down(context.Background(), options.Dir, progress); err != nil && !errors.Is(err, ErrNone) {
			t.Error(err)
		}
	})
	if left, err := l.Leftovers(ctx); err != nil || !left.Empty() {
		t.Errorf("before anything was deployed: left %v, error %v", left, err)
	}
	if info, err := os.Stat(l.CloudsPath()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the clouds.yaml is open to others: %v, %v", info, err)
	}
	liveAndDie(ctx, t, l)

	if err := Down(ctx, options.Dir, progress); err != nil {
		t.Errorf("Down: %v", err)
	}
	if left, err := processes(l.isStray); err != nil || len(left) > 0 {
		t.Errorf("processes are left: %v, %v", processNames(left), err)
	}
	for _, path := range []string{options.Dir, filepath.Join("/run/netns", l.Network.Namespace), filepath.Join("/sys/class/net", l.Network.Link)} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if mounts, err := l.mounts(); err != nil || len(mounts) > 0 {
		t.Errorf("mounts are left: %v, %v", mounts, err)
	}
	t.Logf("%s", progress)
}

// builtProgram is the lab program, for which TestMain's does not stand in here.
func builtProgram(t *testing.T) string {
	t.Helper()
	program, err := filepath.Abs("../bin/lab")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("'make build' makes it: %v", err)
	}
	return program
}

// liveAndDie makes a server as a project's plain user, and deletes it.
func liveAndDie(ctx context.Context, t *testing.T, l *Lab) {
	t.Helper()
	p, err := l.Project(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	id, err := p.Create(ctx, project.Order{Name: "first", Flavor: l.OpenStack.Flavor, Image: l.OpenStack.Image, Network: l.OpenStack.Network})
	if err != nil {
		t.Fatal(err)
	}
	await(ctx, t, p, id, func(v servers.Server, err error) bool {
		if err != nil || v.Status == "ERROR" {
			t.Fatalf("the server is %s: %+v, %v", v.Status, v.Fault, err)
		}
		return v.Status == "ACTIVE"
	})
	t.Logf("ACTIVE after %v", time.Since(began).Round(100*time.Millisecond))
	if err := servers.Delete(ctx, p.Compute, id).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, p, id, func(v servers.Server, err error) bool {
		return gophercloud.ResponseCodeIs(err, http.StatusNotFound) || v.Status == "DELETED"
	})
}

// await looks at a server until it is as it should be.
func await(ctx context.Context, t *testing.T, p *project.Project, id string, done func(servers.Server, error) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var v servers.Server
		err := servers.Get(ctx, p.Compute, id).ExtractInto(&v)
		if done(v, err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the server is still %s: %v", v.Status, err)
		case <-tick.C:
		}
	}
}
