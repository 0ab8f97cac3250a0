package simulation

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
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
	network *network
	kill    Kill
	// told is called once, by the call that the process dies at.
	told func(call string)
	// made is called after each effect that was not the last.
	made func(call string)
	end  context.CancelFunc

	mu      sync.Mutex
	dead    bool
	effects int
	conns   map[net.Conn]bool
}

func newProcess(ctx context.Context, network *network, kill Kill, told, made func(string)) (context.Context, *process) {
	ctx, end := context.WithCancel(ctx)
	return ctx, &process{network: network, kill: kill, told: told, made: made, end: end, conns: map[net.Conn]bool{}}
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
	p.mu.Unlock()
	if p.kill == (Kill{At: number}) {
		p.die("before " + call)
		return errDead
	}
	err := do()
	if p.kill == (Kill{At: number, After: true}) {
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

// die is SIGKILL: what waits gets errors, so that its goroutines end, and the
// connections are closed as the kernel closes them.
func (p *process) die(when string) {
	p.mu.Lock()
	already := p.dead
	p.dead = true
	conns := p.conns
	p.conns = map[net.Conn]bool{}
	p.mu.Unlock()
	if already {
		return
	}
	p.told(when)
	for conn := range conns {
		conn.Close()
	}
	p.end()
}

// dial connects a client of the process to an address of the network.
func (p *process) dial(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var conn net.Conn
		err := p.look(func() (err error) {
			conn, err = p.network.dial(ctx, address)
			return err
		})
		if err != nil {
			if conn != nil {
				conn.Close()
			}
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.conns[conn] = true
		return &socket{Conn: conn, process: p}, nil
	}
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
