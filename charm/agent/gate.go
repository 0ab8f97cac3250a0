package agent

import "sync"

// gate knows whether somebody else wants the unit.
type gate struct {
	mu      sync.Mutex
	waiting int
	// wanted is closed while somebody waits, free while nobody does.
	wanted, free chan struct{}
}

func newGate() *gate {
	g := &gate{wanted: make(chan struct{}), free: make(chan struct{})}
	close(g.free)
	return g
}

// enter counts somebody who waits, until leave is called.
func (g *gate) enter() (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting++
	if g.waiting == 1 {
		close(g.wanted)
		g.free = make(chan struct{})
	}
	return sync.OnceFunc(g.leave)
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
	if g.waiting == 0 {
		close(g.free)
		g.wanted = make(chan struct{})
	}
}

// whenWanted is closed once somebody waits.
func (g *gate) whenWanted() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wanted
}

// whenFree is closed once nobody waits any more.
func (g *gate) whenFree() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.free
}
