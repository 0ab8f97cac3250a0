package openstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	door "github-runner/charm/guest"
	"github-runner/lab/guests"
	"github-runner/lab/pipe"
)

// DialGuest connects to the SSH server of the guest with an address, fixed or
// floating, as from outside of the cloud. As in a real cloud nothing answers, until ctx
// ends, where there is no server or its security groups do not let SSH in.
func (s *Server) DialGuest(ctx context.Context, address string) (net.Conn, error) {
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to a guest: %w", err)
	}
	g, sshd, reachable := s.guestAt(parsed)
	if !reachable {
		<-ctx.Done()
		return nil, fmt.Errorf("cannot connect to a guest: %w", ctx.Err())
	}
	if sshd == nil || s.faults.Take(SSHFails, g.server.name) != nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, server := pipe.New()
	if s.faults.Take(SSHHangs, g.server.name) != nil {
		go silence(g.ctx, server)
		return client, nil
	}
	go sshd.Serve(g.ctx, server)
	return client, nil
}

// guestAt finds the guest with an address, and its SSH server; that is nil where nobody
// listens, as while it boots.
func (s *Server) guestAt(address netip.Addr) (g *guest, sshd *guests.SSHServer, reachable bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports := s.ports
	for _, f := range s.floating {
		if f.address == address && f.port != nil {
			ports = []*port{f.port}
			address = f.port.address
		}
	}
	for _, p := range ports {
		if p.address == address && p.server != nil && p.server.guest != nil && s.admitsSSH(p) {
			return p.server.guest, p.server.guest.sshd, true
		}
	}
	return nil, nil, false
}

// admitsSSH reports whether the security groups of a port let SSH in from anywhere
// outside of the cloud; s.mu is held.
func (s *Server) admitsSSH(p *port) bool {
	return slices.ContainsFunc(s.groups, func(g *group) bool {
		return slices.Contains(p.groups, g.id) && slices.ContainsFunc(g.rules, (*rule).admitsSSH)
	})
}

func (r *rule) admitsSSH() bool {
	protocol := r.Protocol == nil || slices.Contains([]string{"tcp", "6", "any"}, strings.ToLower(*r.Protocol))
	above := r.PortMin == nil || *r.PortMin <= door.Port
	below := r.PortMax == nil || *r.PortMax >= door.Port
	return r.Direction == "ingress" && r.EtherType == "IPv4" && r.RemoteGroup == nil && protocol && above && below
}

// silence reads a connection, and says nothing.
func silence(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, _ = io.Copy(io.Discard, conn) // ends with the connection
}

// GuestSocket is where other processes find the SSH servers of the guests of the cloud
// whose lab has a directory: DialGuestAt connects there.
func GuestSocket(dir string) string { return filepath.Join(dir, "ssh.sock") }

// socketPatience is how long who connects to the guests' socket may take to say where
// to.
const socketPatience = 10 * time.Second

// connected is what the guests' socket says once it is the guest's; anything else is an
// error.
const connected = "connected"

// DialGuestAt is DialGuest for other processes, by the directory of the lab.
func DialGuestAt(ctx context.Context, dir, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", GuestSocket(dir))
	if err != nil {
		return nil, fmt.Errorf("cannot reach the emulated cloud's guests: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = orderGuest(conn, address)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("cannot reach the guest at %s: %w", address, err)
	}
	return conn, nil
}

// orderGuest says at the guests' socket where to.
func orderGuest(conn net.Conn, address string) error {
	if _, err := fmt.Fprintln(conn, address); err != nil {
		return err
	}
	answer, err := readLine(conn)
	if err == nil && answer != connected {
		return errors.New(answer)
	}
	return err
}

// readLine reads a line and not a byte more: what follows is not ours.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	for b := make([]byte, 1); line.Len() < 1<<10; line.WriteByte(b[0]) {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return line.String(), nil
		}
	}
	return "", bufio.ErrTooLong
}

// serveGuests connects other processes with guests until the listener is closed.
func (s *Server) serveGuests(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go s.join(conn)
	}
}

// join joins a connection from another process with the guest that it asks for.
func (s *Server) join(conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	patience := time.AfterFunc(socketPatience, func() { conn.Close() })
	address, err := readLine(conn)
	patience.Stop()
	if err != nil {
		return // there is nobody to tell
	}
	// As a kernel gives up at last.
	dialing, dialed := context.WithTimeout(ctx, time.Minute)
	defer dialed()
	far, err := s.DialGuest(dialing, address)
	if err != nil {
		fmt.Fprintln(conn, err)
		return
	}
	defer far.Close()
	if _, err := fmt.Fprintln(conn, connected); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(far, conn) // ends with either
		far.Close()
	}()
	_, _ = io.Copy(conn, far)
}
