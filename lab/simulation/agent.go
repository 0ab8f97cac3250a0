package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github-runner/charm/agent"
	"github-runner/charm/services"
	charmunit "github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// resident is one run of the agent.
type resident struct {
	process *process
	build   string
	began   time.Time
	// done is closed once it is gone; why it ended is known then.
	done chan struct{}
	err  error
	// late is told where it did not end in time after it was asked to.
	late func(took time.Duration)
}

// keepRunners starts the agent, as Pebble starts the charm's program. At its end
// ended is called.
func (u *unit) keepRunners(ended func(*resident)) *resident {
	u.mu.Lock()
	r := &resident{build: u.build, began: time.Now(), done: make(chan struct{}), late: u.late}
	kill := u.agentKill
	u.agentKill = Kill{}
	u.mu.Unlock()
	ctx, p := newProcess(context.Background(), u.world.network, kill, func(when string) {
		u.story.tell("KILL of the agent: %s", when)
		u.agentKilled()
	}, u.agentMade)
	p.rushed = u.rushed
	r.process = p
	u.story.tell("the agent of build %s begins", r.build)
	go func() {
		r.err = u.runAgent(ctx, r)
		p.exit()
		u.story.tell("the agent ends after %s: %v", time.Since(r.began).Round(time.Millisecond), r.err)
		ended(r)
		close(r.done)
	}()
	return r
}

// runAgent is the agent's program.
func (u *unit) runAgent(ctx context.Context, r *resident) error {
	dir, err := unitdir.Find(u.world.root(), owner.Prefix())
	if err != nil {
		return err
	}
	return agent.Run(ctx, agent.Config{
		Dir:      dir.At(u.meeting(r.process)),
		Build:    r.build,
		Assemble: u.assemble(r.process),
		Log:      u.story.logger(r.process, "agent"),
	})
}

// terminate asks the agent to end, and waits until it has.
func (r *resident) terminate() {
	asked := time.Now()
	r.process.end()
	timer := time.NewTimer(killDelay)
	defer timer.Stop()
	select {
	case <-r.done:
		if took := time.Since(asked); took > longestGoodbye {
			r.late(took)
		}
	case <-timer.C:
		r.late(killDelay)
		r.process.die("it did not end")
		<-r.done
	}
}

// askAgent gets the agent's status, as whoever may enter the unit's folder can.
func (u *unit) askAgent() (string, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return u.world.network.Dial(ctx, "unix", filepath.Join(u.world.folder(), charmunit.AgentSocket))
		},
	}}
	response, err := client.Get("http://agent/status")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var status agent.Status
	if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
		return "", fmt.Errorf("the agent's status is no JSON: %w", err)
	}
	text, err := json.Marshal(status)
	return string(text), err
}

// switchAgent switches the agent on or off, as an operator does; the next hook
// heeds it.
func (w *world) switchAgent(on bool) error {
	path := filepath.Join(w.root(), services.AgentOffFile)
	if on {
		err := os.Remove(path)
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o644)
}
