package lxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/lab/clock"
	"github-runner/lab/guests"
)

// Listener is the session of a runner application with GitHub.
type Listener = guests.Listener

// policySocket is where a unit's policy service answers beside the address on the
// bridge.
const policySocket = "policy.sock"

// guest is what runs in an instance, from its power-on to its power-off.
type guest struct {
	server   *Server
	instance *instance
	name     string
	userData string
	// agent is set once a virtual machine's lxd-agent is up; it is guarded by
	// the server's mu. agentUp is closed then.
	agent   bool
	agentUp chan struct{}
	// booted is closed once the guest has booted.
	booted chan struct{}
	// exchange is the host's side of the exchange folder; "": there is none.
	exchange string

	ctx context.Context
	// pull pulls the plug.
	pull context.CancelFunc
	// application is the context of the runner application; kill ends it.
	application context.Context
	kill        context.CancelFunc
	// runner is the guest's software, where it is a runner's.
	runner *guests.Runner
}

// guest is the machine of its software.
var (
	_ guests.Machine = (*guest)(nil)
	_ guests.Disk    = (*guest)(nil)
)

// boot returns the guest of an instance that was just switched on; s.mu is held.
func (s *Server) boot(i *instance) *guest {
	g := &guest{
		server: s, instance: i, name: i.Name, userData: i.expandedConfig(s)["cloud-init.user-data"],
		agentUp: make(chan struct{}), booted: make(chan struct{}),
	}
	for _, device := range i.expandedDevices(s) {
		if device["type"] == "disk" && device["path"] == cloudinit.ExchangeDir {
			g.exchange = device["source"]
		}
	}
	g.runner = &guests.Runner{Name: i.Name, UserData: g.userData, Machine: g, Listen: s.options.Listen, Faults: s.faults}
	g.ctx, g.pull = context.WithCancel(s.life)
	g.application, g.kill = context.WithCancel(g.ctx)
	if i.virtual() {
		go g.startAgent()
	}
	go g.live()
	return g
}

// live is the guest's life; it ends with a power-off, by itself or from outside.
func (g *guest) live() {
	defer g.kill()
	faults, timing := g.server.faults, g.server.options.Timing
	boot := timing.Boot
	if g.instance.virtual() {
		boot += timing.Firmware
	}
	if f := faults.Take(SlowBoot, g.name); f != nil {
		boot = f.Lasts(time.Minute)
	}
	if clock.Pause(g.ctx, boot) != nil {
		return
	}
	close(g.booted)
	if g.awaitAgent() != nil {
		return
	}
	facts := guests.WrittenFile(g.userData, image.FactsPath)
	jit := guests.WrittenFile(g.userData, cloudinit.JITPath)
	switch {
	case facts != "":
		if g.hasExchange() {
			builder := &guests.Builder{Name: g.name, Disk: g, Faults: g.server.faults, Work: timing.Work}
			builder.Run(g.ctx, facts)
		}
	case jit != "":
		code := g.runner.Serve(g.application, strings.TrimSpace(jit))
		if g.ctx.Err() == nil {
			g.runner.End(code)
		}
	default:
		<-g.ctx.Done() // somebody's machine
		return
	}
	if faults.Take(PowerOffHangs, g.name) != nil {
		<-g.ctx.Done()
		return
	}
	if clock.Pause(g.ctx, timing.PowerOff) != nil {
		return
	}
	g.server.shutDown(g.instance, g)
}

// Begin implements guests.Machine.
func (g *guest) Begin() error {
	g.server.mu.Lock()
	again := g.instance.started()
	if !again {
		g.instance.Files[cloudinit.StartedPath] = ""
		g.server.changed(g.instance)
	}
	g.server.mu.Unlock()
	mounted := g.hasExchange()
	switch {
	case again:
		return errors.New("github-runner: this machine has served already")
	case !mounted:
		return errors.New("github-runner: " + cloudinit.ExchangeDir + " was not mounted")
	}
	return nil
}

// DialPolicy implements guests.Machine: the service of the guest's unit answers in the
// unit's folder, which has the exchange folder in it. An emulation does not have the
// bridge whose address the URL has.
func (g *guest) DialPolicy(ctx context.Context, _ string) (net.Conn, error) {
	if g.exchange == "" {
		return nil, guests.ErrAlone
	}
	return dialIn(ctx, filepath.Dir(filepath.Dir(g.exchange)), policySocket)
}

// dialIn connects to a socket in a folder, whose path may be too long for a socket's
// address.
func dialIn(ctx context.Context, folder, name string) (net.Conn, error) {
	dir, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
}

// Log prints a line, as service and application do, where the host can read it.
func (g *guest) Log(line string) {
	if g.exchange == "" {
		return
	}
	if err := appendTo(g.exchange, cloudinit.DiagFile, line+"\n"); err != nil {
		g.server.options.Log.WithError(err).WithField("instance", g.name).Debug("the guest could not print")
	}
}

// Leave writes a file into the exchange folder, all at once.
func (g *guest) Leave(name, content string) {
	if g.exchange == "" {
		return
	}
	if err := writeInto(g.exchange, name, content); err != nil {
		g.server.options.Log.WithError(err).WithField("instance", g.name).Debug("the guest could not leave a file")
	}
}

// Left reports whether a file is in the exchange folder.
func (g *guest) Left(name string) bool {
	root, err := os.OpenRoot(g.exchange)
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Lstat(name)
	return err == nil
}

// Write implements guests.Disk.
func (g *guest) Write(path, content string) {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	g.instance.Files[path] = content
	g.server.changed(g.instance)
}

// Read implements guests.Disk.
func (g *guest) Read(path string) string {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	return g.instance.Files[path]
}

// writeInto replaces a file in a folder, whatever lies under its name.
func writeInto(folder, name, content string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.WriteFile("."+name, []byte(content), 0o644); err != nil {
		return err
	}
	return root.Rename("."+name, name)
}

func appendTo(folder, name, content string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Close())
}
