package openstack

import (
	"context"
	"net"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/lab/clock"
	"github-runner/lab/guests"
)

// guest is what runs in a server, from its power-on to its power-off.
type guest struct {
	// Memory is the server's disk.
	*guests.Memory
	cloud  *Server
	server *server
	runner *guests.Runner
	// sshd is the guest's SSH server, once it is up; nil where it has none.
	sshd *guests.SSHServer
	// speaks is set where the guest says on its console what it has to say, and
	// leaves no files.
	speaks bool

	ctx context.Context
	// pull pulls the plug.
	pull context.CancelFunc
	// application is the context of the runner application; kill ends it.
	application context.Context
	kill        context.CancelFunc
}

// guest is the machine of its software.
var (
	_ guests.Machine = (*guest)(nil)
	_ guests.Disk    = (*guest)(nil)
)

// powerOn lets the guest of a server boot; s.mu is held.
func (s *Server) powerOn(v *server) {
	v.become(vmActive, "")
	g := &guest{Memory: v.disk, cloud: s, server: v}
	g.runner = &guests.Runner{Name: v.name, UserData: v.userData, Machine: g, Listen: s.options.Listen, Faults: s.faults}
	g.ctx, g.pull = context.WithCancel(s.life)
	g.application, g.kill = context.WithCancel(g.ctx)
	v.guest = g
	go g.live()
}

// powerOff ends the guest of a server; s.mu is held.
func (v *server) powerOff() {
	if v.guest != nil {
		v.guest.pull()
		v.guest = nil
	}
}

// live is the guest's life; it ends with a power-off, by itself or from outside.
func (g *guest) live() {
	defer g.kill()
	userData := g.server.userData
	jit := strings.TrimSpace(guests.WrittenFile(userData, cloudinit.JITPath))
	facts := guests.WrittenFile(userData, image.FactsPath)
	if jit == "" && facts == "" {
		return // somebody's machine: it just runs
	}
	faults, timing := g.cloud.faults, g.cloud.options.Timing
	g.speaks = guests.SpeaksOnConsole(userData)
	boot := timing.Boot
	if f := faults.Take(SlowBoot, g.server.name); f != nil {
		boot = f.Lasts(time.Minute)
	}
	if clock.Pause(g.ctx, boot) != nil {
		return
	}
	g.startSSH()
	if facts != "" {
		builder := &guests.Builder{Name: g.server.name, Disk: g, Faults: faults, Work: timing.Work}
		builder.Run(g.ctx, facts)
	} else if code := g.runner.Serve(g.application, jit); g.ctx.Err() == nil {
		g.runner.End(code)
	}
	if faults.Take(PowerOffHangs, g.server.name) != nil {
		return
	}
	if clock.Pause(g.ctx, guests.PowerOffDelay(userData)+timing.PowerOff) != nil {
		return
	}
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	if g.server.guest == g {
		g.server.powerOff()
		g.server.become(vmStopped, g.server.taskState)
	}
}

// startSSH starts the SSH server that the user-data asks for.
func (g *guest) startSSH() {
	sshd := guests.NewSSHServer(g.server.userData, g.File)
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	g.sshd = sshd
}

// Leave implements guests.Machine and guests.Disk.
func (g *guest) Leave(name, content string) {
	if g.speaks {
		g.print("", name+" "+strings.TrimSuffix(content, "\n"), "")
		return
	}
	g.Memory.Leave(name, content)
}

// Log implements guests.Machine and guests.Disk: the line is on the console, too.
func (g *guest) Log(line string) {
	g.print(line)
	if g.speaks {
		return
	}
	g.Memory.Log(line)
}

// print prints lines on the console.
func (g *guest) print(lines ...string) {
	g.cloud.mu.Lock()
	defer g.cloud.mu.Unlock()
	g.server.console = append(g.server.console, lines...)
}

// DialPolicy implements guests.Machine.
func (g *guest) DialPolicy(ctx context.Context, text string) (net.Conn, error) {
	address, err := guests.PolicyAddress(text)
	if err != nil {
		return nil, err
	}
	return g.cloud.options.Dial(ctx, "tcp", address)
}
