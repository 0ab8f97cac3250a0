package takeover

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github-runner/charm/runner"
)

var errKilled = errors.New("killed")

// mortal is the world as a process sees it that is killed at one of its calls:
// before it takes effect, or after. From then on nothing has an effect.
type mortal struct {
	*world
	calls  int
	killed int  // at this call, from 1
	after  bool // it took effect
}

// call counts what has an effect.
func (m *mortal) call(effect func() error) error {
	m.calls++
	switch {
	case m.killed == 0 || m.calls < m.killed:
		return effect()
	case m.calls == m.killed && m.after:
		return errors.Join(effect(), errKilled)
	}
	return errKilled
}

func (m *mortal) dead() bool {
	return m.killed > 0 && m.calls >= m.killed
}

func (m *mortal) FormerInstances(ctx context.Context) ([]Instance, error) {
	if m.dead() {
		return nil, errKilled
	}
	return m.world.FormerInstances(ctx)
}

func (m *mortal) RemoveFormer(ctx context.Context, name string) error {
	return m.call(func() error { return m.world.RemoveFormer(ctx, name) })
}

func (m *mortal) RemoveFormerSetup(ctx context.Context) error {
	return m.call(func() error { return m.world.RemoveFormerSetup(ctx) })
}

func (m *mortal) Deregister(ctx context.Context, scope runner.Scope, id int64) error {
	return m.call(func() error { return m.world.Deregister(ctx, scope, id) })
}

// hook is what a hook does with a takeover, as far as it lives.
func (m *mortal) hook(t *testing.T, charmDir, root string) error {
	var remembered Memory
	if len(m.saved) > 0 {
		remembered = m.saved[len(m.saved)-1]
	}
	if remembered.Path == "" && !remembered.Done {
		var err error
		if remembered, err = Recall(nil, charmDir); err != nil {
			return err
		}
	}
	takeover := m.takeover(func(c *Config) {
		c.Machines, c.GitHub, c.CharmDir, c.Root, c.Memory = m, m, charmDir, root, remembered
		c.Save = func(memory Memory) error {
			return m.call(func() error { m.saved = append(m.saved, memory); return nil })
		}
	})
	for range 3 {
		if _, err := takeover.Release(t.Context(), 1); err != nil {
			return err
		}
	}
	return takeover.Tidy(t.Context())
}

// Whenever a hook is killed, the next ones end the takeover, at the place that only
// the Python charm's state told, and the runner at a job stays until it has ended.
func TestKilledAtAnyCall(t *testing.T) {
	for at := 1; ; at++ {
		calls := 0
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("at %d, after %v", at, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { calls = playKilled(t, at, after) })
			})
		}
		if calls < at {
			return
		}
	}
}

// playKilled returns how many calls the first hook made.
func playKilled(t *testing.T, at int, after bool) int {
	root := t.TempDir()
	charmDir := filepath.Join(root, "agents", "unit-github-runner-0", "charm")
	state := `{"charm_config": {"path": {"owner": "acme", "repo": "old"}, "token": "ghp_old"}}`
	if err := errors.Join(os.MkdirAll(charmDir, 0o755), os.WriteFile(filepath.Join(charmDir, stateFile), []byte(state), 0o644)); err != nil {
		t.Fatal(err)
	}
	third := "github-runner-0-000000000000000000000003"
	w := newWorld(first, second, third)
	for name := range w.registered {
		w.change(name, func(r *runner.Registration) { r.Scope = before; r.Busy = name == second })
	}
	w.takesJob[third] = true

	killed := &mortal{world: w, killed: at, after: after}
	err := killed.hook(t, charmDir, root)
	if err == nil && killed.calls >= at {
		t.Error("a hook that was killed says that all is well")
	}
	for range 3 {
		survivor := &mortal{world: w}
		if err := survivor.hook(t, charmDir, root); err != nil {
			t.Fatal(err)
		}
		for _, busy := range []string{second, third} {
			if !w.running[busy] {
				t.Fatalf("%s was removed from its job", busy)
			}
		}
	}
	if w.running[first] || len(w.registered) != 1 {
		t.Errorf("left are %v, registered %v", w.names(), w.registered)
	}
	// The jobs end: the instances remove themselves.
	clear(w.running)
	if err := (&mortal{world: w}).hook(t, charmDir, root); err != nil {
		t.Fatal(err)
	}
	if last := w.saved[len(w.saved)-1]; !last.Done || !last.Token.IsZero() {
		t.Errorf("remembered in the end is %+v", last)
	}
	if exists(filepath.Join(charmDir, stateFile)) || w.setups == 0 {
		t.Error("the previous charm's secrets or setup are left")
	}
	return killed.calls
}
