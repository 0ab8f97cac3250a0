package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github-runner/charm/juju"
)

func TestSpike(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		story := newStory()
		w, err := newWorld(dir, story)
		if err != nil {
			t.Fatal(err)
		}
		u := &unit{world: w, story: story, build: "1", config: map[string]any{"path": "acme/widgets", "token": "ghp_secret", "github-url": gitHubURL, "virtual-machines": int64(3), "lxd-instance-type": "container", "base-image": "noble"}}
		for _, name := range []string{"install", "config-changed", "start", "update-status", "update-status", "stop", "remove"} {
			u.run(t.Context(), call{kind: juju.KindHook, name: name})
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		t.Log(story.String())
	})
	t.Log(time.Since(began))
}
