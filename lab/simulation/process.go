package simulation

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github-runner/lab/pipe"
)

// Kill says when a process dies: at its effect of that number, from 1, before or
// after it took effect. The zero value is never.
type Kill struct {
	At    int
	After bool
}

// errDead is what a killed process gets for an answer. Nobody reads it.
var errDead = errors.New("this process was killed")

// process is one run of the charm's program. Once it is dead, nothing that it
// does has an effect, and nothing answers it.
type process struct {
	network *pipe.Network
	// told is called once, by the call that the process dies at.
	told func(call string)
	// made is called after each effect that was not the last.
	made func(call string)
	// rushed is told once, of a process that makes calls without end; nil where
	// nobody wants to know.
	rushed func(calls int)
	end    context.CancelFunc

	mu        sync.Mutex
	kill      Kill
	dead      bool
	effects   int
	conns     map[net.Conn]bool
	listeners []net.Listener
	// locks are what it holds, and how that is let go.
	locks []func()
	// calls counts the requests by whom they went to, minute those since the
	// time since.
	calls  map[string]int
	minute int
	since  time.Time
}

// mostCalls is how many requests a process makes in a minute at most: more than
// a dozen runners that are replaced together need, and far fewer than one makes
// that does not wait.
const mostCalls = 1500

func newProcess(ctx context.Context, network *pipe.Network, kill Kill, told, made func(string)) (context.Context, *process) {
	ctx, end := context.WithCancel(ctx)
	return ctx, &process{network: network, kill: kill, told: told, made: made, end: end, conns: map[net.Conn]bool{}, calls: map[string]int{}}
}

// effect makes a call that changes something outside of the process.
func (p *process) effect(call string, do func() error) error {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return errDead
	}
	p.effects++
	number := p.effects
	before, after := p.kill == Kill{At: number}, p.kill == Kill{At: number, After: true}
	p.mu.Unlock()
	if before {
		p.die("before " + call)
		return errDead
	}
	err := do()
	if after {
		p.die("after " + call)
	}
	if p.isDead() {
		return errDead
	}
	p.made(call)
	return err
}

// look makes a call that changes nothing.
func (p *process) look(do func() error) error {
	if p.isDead() {
		return errDead
	}
	err := do()
	if p.isDead() {
		return errDead
	}
	return err
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// arm lets the process die at an effect that is counted from now.
func (p *process) arm(kill Kill) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kill.At += p.effects
	p.kill = kill
}

// die is SIGKILL: what waits gets errors, so that its goroutines end, and the
// connections are closed as the kernel closes them. The locks are free once the
// process has come to its exit.
func (p *process) die(when string) {
	p.mu.Lock()
	already := p.dead
	p.dead = true
	p.mu.Unlock()
	if already {
		return
	}
	p.told(when)
	p.hangUp()
	p.end()
}

// hangUp closes all connections.
func (p *process) hangUp() {
	p.mu.Lock()
	conns, listeners := p.conns, p.listeners
	p.conns, p.listeners = map[net.Conn]bool{}, nil
	p.mu.Unlock()
	for _, listener := range listeners {
		listener.Close()
	}
	for conn := range conns {
		conn.Close()
	}
}

// exit is the end of the process, however it came about: the kernel frees its
// locks.
func (p *process) exit() {
	p.end()
	p.mu.Lock()
	locks := p.locks
	p.locks = nil
	p.mu.Unlock()
	for _, release := range locks {
		release()
	}
}

// holds notes a lock that the process holds.
func (p *process) holds(release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Those that were let go are no loss.
	p.locks = []func(){release}
}

// listen opens an address of the network for the process.
func (p *process) listen(address string) (net.Listener, error) {
	var l net.Listener
	err := p.look(func() (err error) {
		l, err = p.network.Listen("unix", address)
		return err
	})
	if err != nil {
		if l != nil {
			l.Close()
		}
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, l)
	return &door{Listener: l, process: p}, nil
}

// door is a listener that its process knows of.
type door struct {
	net.Listener
	process *process
}

func (d *door) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if !d.process.opened(conn) {
		conn.Close()
		return nil, net.ErrClosed
	}
	return &socket{Conn: conn, process: d.process}, nil
}

// opened notes a connection, unless the process is dead.
func (p *process) opened(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return false
	}
	p.conns[conn] = true
	return true
}

// called counts a request.
func (p *process) called(to string) {
	p.mu.Lock()
	p.calls[to]++
	if time.Since(p.since) > time.Minute {
		p.minute, p.since = 0, time.Now()
	}
	p.minute++
	rushes := p.minute == mostCalls && p.rushed != nil
	p.mu.Unlock()
	if rushes {
		p.rushed(mostCalls)
	}
}

// counted is how many requests the process has made to each of whom it calls.
func (p *process) counted() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.calls)
}

// dial connects a client of the process to an address of the network.
func (p *process) dial(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return p.connect(func() (net.Conn, error) { return p.network.Dial(ctx, "", address) })
	}
}

// connect opens a connection of the process.
func (p *process) connect(dial func() (net.Conn, error)) (net.Conn, error) {
	var conn net.Conn
	err := p.look(func() (err error) {
		conn, err = dial()
		return err
	})
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, err
	}
	if !p.opened(conn) {
		conn.Close()
		return nil, errDead
	}
	return &socket{Conn: conn, process: p}, nil
}

// open is the number of connections that are open.
func (p *process) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// socket is a connection that its process knows of.
type socket struct {
	net.Conn
	process *process
}

func (s *socket) Close() error {
	s.process.mu.Lock()
	delete(s.process.conns, s.Conn)
	s.process.mu.Unlock()
	return s.Conn.Close()
}

// carry returns a carrier of the process's HTTP calls.
func (p *process) carry(to string) func(http.RoundTripper) http.RoundTripper {
	return func(inner http.RoundTripper) http.RoundTripper {
		return carrier{process: p, to: to, inner: inner}
	}
}

type carrier struct {
	process *process
	to      string
	inner   http.RoundTripper
}

// RoundTrip implements http.RoundTripper. The whole answer is there when a call
// has taken effect, so that a kill after it means that nobody reads it.
func (c carrier) RoundTrip(request *http.Request) (*http.Response, error) {
	c.process.called(c.to)
	var response *http.Response
	do := func() (err error) {
		response, err = c.inner.RoundTrip(request)
		return err
	}
	var err error
	if request.Method == http.MethodGet {
		err = c.process.look(do)
	} else {
		err = c.process.effect(c.to+" "+request.Method+" "+request.URL.Path, do)
	}
	if err != nil && response != nil {
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		response = nil
	}
	return response, err
}

// oneLine makes a line of a text.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}
