package lxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// glimpse is LXD's view of instances, that shows the next one as stopped once:
// so a container looks in the middle of its reboot.
type glimpse struct {
	instances
	shown bool
}

func (g *glimpse) GetInstance(name string) (*api.Instance, string, error) {
	instance, etag, err := g.instances.GetInstance(name)
	if err == nil && !g.shown {
		g.shown = true
		instance.StatusCode = api.Stopped
	}
	return instance, etag, err
}

func TestDeleteOfAnInstanceThatReboots(t *testing.T) {
	cloud, server, _ := emulatedCloud(t, nil)
	template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	name := cloud.config.Owner.NewName()
	if err := cloud.Create(t.Context(), template, runner.Birth{Name: name, RunnerID: 7, JIT: secret.New("jit")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.exchange(name).remove() })
	server.instances = &glimpse{instances: server.instances}
	if err := cloud.deleteInstance(server, name, cloud.isOurs); err != nil {
		t.Errorf("deleting it: %v", err)
	}
	if listed, err := cloud.List(t.Context()); err != nil || len(listed) != 1 || listed[0].Status != runner.StatusTraces {
		t.Errorf("after that there is %+v, %v", listed, err)
	}
}
