package simulation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github-runner/charm/unitdir"
)

// kernel has the unit's lock in memory: unlike flock's, a wait for it is seen by
// testing/synctest. Those who wait get it in their order, and it is free once a
// process that has it is gone.
type kernel struct {
	mu sync.Mutex
	// claims are those who want the lock. The first has it.
	claims []*claim
}

// claim is somebody's who wants the lock.
type claim struct {
	granted chan struct{}
}

// enter queues a claim.
func (k *kernel) enter() *claim {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &claim{granted: make(chan struct{})}
	k.claims = append(k.claims, c)
	if len(k.claims) == 1 {
		close(c.granted)
	}
	return c
}

// leave takes a claim out of the queue, whether or not it was granted.
func (k *kernel) leave(c *claim) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := slices.Index(k.claims, c)
	if at < 0 {
		return
	}
	k.claims = slices.Delete(k.claims, at, at+1)
	if at == 0 && len(k.claims) > 0 {
		close(k.claims[0].granted)
	}
}

// meeting is where a process meets the unit's others.
type meeting struct {
	process *process
	kernel  *kernel
	folder  string
}

// Lock implements unitdir.Meeting.
func (m meeting) Lock(ctx context.Context) (unlock func(), err error) {
	before, err := os.Stat(m.folder)
	if errors.Is(err, os.ErrNotExist) {
		err = unitdir.ErrRemoved
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the unit's lock: %w", err)
	}
	c := m.kernel.enter()
	release := sync.OnceFunc(func() { m.kernel.leave(c) })
	select {
	case <-c.granted:
	case <-ctx.Done():
		release()
		return nil, fmt.Errorf("cannot get the unit's lock, another process has it: %w", ctx.Err())
	}
	if after, err := os.Stat(m.folder); err != nil || !os.SameFile(before, after) {
		release()
		return nil, fmt.Errorf("cannot get the unit's lock: %w", unitdir.ErrRemoved)
	}
	m.process.holds(release)
	return release, nil
}

// Listen implements unitdir.Meeting.
func (m meeting) Listen(name string) (net.Listener, error) {
	return m.process.listen(filepath.Join(m.folder, name))
}

// Dial implements unitdir.Meeting.
func (m meeting) Dial(ctx context.Context, name string) (net.Conn, error) {
	return m.process.dial(filepath.Join(m.folder, name))(ctx, "", "")
}

// queue is a meeting that tells how long the lock was waited for.
type queue struct {
	meeting
	waited func(time.Duration)
}

// Lock implements unitdir.Meeting.
func (q queue) Lock(ctx context.Context) (unlock func(), err error) {
	began := time.Now()
	defer func() { q.waited(time.Since(began)) }()
	return q.meeting.Lock(ctx)
}

var _ unitdir.Meeting = queue{}
