package guest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github-runner/charm/cloudinit"
)

const (
	// proxyGrace is how long a proxy command may take to end by itself.
	proxyGrace = time.Second
	// maxSaid is how many bytes are shown of what others say.
	maxSaid = 512
)

// CheckProxyCommand returns an error, which does not name the option, where a text
// can't be a Door's ProxyCommand.
func CheckProxyCommand(command string) error {
	_, err := expand(command, netip.IPv4Unspecified())
	return err
}

// expand puts the address, port and user of a guest into a proxy command, as OpenSSH
// does.
func expand(command string, address netip.Addr) (string, error) {
	values := map[byte]string{'%': "%", 'h': address.String(), 'n': address.String(), 'p': strconv.Itoa(Port), 'r': cloudinit.User}
	var expanded strings.Builder
	for i := 0; i < len(command); i++ {
		if command[i] != '%' {
			expanded.WriteByte(command[i])
			continue
		}
		i++
		if i == len(command) {
			return "", errors.New("a % stands at its end; write %% for a percent sign")
		}
		value, known := values[command[i]]
		if !known {
			return "", fmt.Errorf("it has %q, but only %%h, %%n, %%p, %%r and %%%% mean something", command[i-1:i+1])
		}
		expanded.WriteString(value)
	}
	if strings.ContainsRune(command, 0) {
		return "", errors.New("it has a NUL character")
	}
	return expanded.String(), nil
}

// proxy is a connection that a command makes: it reads on its standard input what we
// send, and writes what we get to its standard output. It has no deadlines.
type proxy struct {
	command *exec.Cmd
	in, out *os.File
	said    lastSaid
	// ended is closed when the command has ended, and is not yet reaped: until
	// then its process group is no other's.
	ended chan struct{}

	once sync.Once
	// state is how the command ended, once it was closed; nothing writes to said
	// then.
	state error
}

// startProxy starts the proxy command for a guest.
func startProxy(command string, address netip.Addr) (net.Conn, error) {
	expanded, err := expand(command, address)
	if err != nil {
		return nil, fmt.Errorf("cannot use manager-ssh-proxy-command: %w", err)
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start manager-ssh-proxy-command: %w", err)
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("cannot start manager-ssh-proxy-command: %w", err)
	}
	defer theirOut.Close()
	p := &proxy{command: exec.Command("sh", "-c", expanded), in: in, out: out, ended: make(chan struct{})}
	p.command.Stdin, p.command.Stdout, p.command.Stderr = theirIn, theirOut, &p.said
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Who leaves the process group may keep its standard error open.
	p.command.WaitDelay = proxyGrace
	if err := p.command.Start(); err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("cannot start manager-ssh-proxy-command: %w", err)
	}
	go p.watch()
	return p, nil
}

// watch waits for the command's end.
func (p *proxy) watch() {
	defer close(p.ended)
	for {
		err := unix.Waitid(unix.P_PID, p.command.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Read implements net.Conn.
func (p *proxy) Read(b []byte) (int, error) { return p.out.Read(b) }

// Write implements net.Conn.
func (p *proxy) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close implements net.Conn. It kills what the command started.
func (p *proxy) Close() error {
	p.once.Do(func() {
		p.in.Close()
		p.out.Close()
		// It may have ended.
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
		p.state = p.command.Wait()
		<-p.ended
	})
	return nil
}

// explain says what it means that a connection failed: often the command ends by
// itself.
func (p *proxy) explain(err error) error {
	grace := time.NewTimer(proxyGrace)
	defer grace.Stop()
	select {
	case <-p.ended:
	case <-grace.C:
	}
	p.Close()
	var status *exec.ExitError
	if errors.As(p.state, &status) && status.Exited() {
		return fmt.Errorf("manager-ssh-proxy-command ended with %w", status)
	}
	return fmt.Errorf("the SSH connection by manager-ssh-proxy-command failed: %s", oneLine(err.Error()))
}

// quote closes the connection and adds to an error what the command said.
func (p *proxy) quote(err error) error {
	p.Close()
	if said := oneLine(string(p.said.last)); said != "" {
		return fmt.Errorf("%w; manager-ssh-proxy-command says: %s", err, said)
	}
	return err
}

// LocalAddr implements net.Conn.
func (p *proxy) LocalAddr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

// RemoteAddr implements net.Conn.
func (p *proxy) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "pipe"} }

// SetDeadline implements net.Conn.
func (p *proxy) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (p *proxy) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (p *proxy) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// lastSaid keeps the end of what is written to it.
type lastSaid struct {
	last []byte
}

// Write implements io.Writer.
func (l *lastSaid) Write(p []byte) (int, error) {
	l.last = append(l.last, p[max(0, len(p)-maxSaid):]...)
	l.last = l.last[max(0, len(l.last)-maxSaid):]
	return len(p), nil
}

// oneLine is the end of what others said, fit to be shown.
func oneLine(said string) string {
	said = said[max(0, len(said)-maxSaid):]
	printable := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(said, "?"))
	return strings.Join(strings.Fields(printable), " ")
}
