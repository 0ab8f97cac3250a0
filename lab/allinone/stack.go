package allinone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Guests are what a server is.
type Guests string

// The kinds of servers.
const (
	// Fake servers are Nova's fake driver's: ACTIVE at once, with nothing in them.
	Fake Guests = "fake"
	// QEMU has servers that boot.
	QEMU Guests = "qemu"
)

// Image is what servers boot from: a root file system as a qcow2 image, and the
// kernel that QEMU starts with it. Fake servers need none.
type Image struct {
	Disk, Kernel, Initrd string
}

// Stack is one OpenStack. Its services listen at one address, at their usual ports.
type Stack struct {
	// State is an empty folder for all that it has, Logs one for what its programs
	// say.
	State, Logs string
	// Cache is a folder of the machine's, for what the next stack need not make again.
	Cache string
	// CloudsFile is written for clients when all is there: a clouds.yaml of a plain
	// user of a project. AdminFile is the same for the administrator.
	CloudsFile, AdminFile string
	// Address is one of this network namespace's, which clients can reach.
	Address netip.Addr
	// Subnet is of the one network that servers can be on. Its first address is the
	// host's.
	Subnet netip.Prefix
	Guests Guests
	Image  Image
	// Report is told of each step that is done.
	Report func(step string)

	// password is the administrator's.
	password string
	// fail ends the stack.
	fail context.CancelCauseFunc
}

// Run starts all of it, calls ready and goes on until ctx ends or a program of it
// does, which is an error. It must be in namespaces of its own, under Init, and it
// ends no program: their namespace's end does.
func (s *Stack) Run(ctx context.Context, ready func()) error {
	ctx, s.fail = context.WithCancelCause(ctx)
	defer s.fail(nil)
	s.password = rand.Text()
	if err := s.up(ctx); err != nil {
		return fmt.Errorf("cannot start OpenStack: %w", err)
	}
	ready()
	<-ctx.Done()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("OpenStack is over: %w", err)
	}
	return nil
}

// step is a part of the start with what is said when it is done.
type step struct {
	done string
	do   func(context.Context) error
}

func (s *Stack) up(ctx context.Context) error {
	began := time.Now()
	for _, one := range []step{
		{"folders and settings", func(context.Context) error { return s.prepare() }},
		{"databases and messages", s.startBelow},
		{"schemas", s.makeSchemas},
		{"identity", s.startIdentity},
		{"services", s.startServices},
		{"flavors, images, network and project", s.furnish},
	} {
		if err := one.do(ctx); err != nil {
			return err
		}
		s.Report(fmt.Sprintf("%5.1fs  %s", time.Since(began).Seconds(), one.done))
	}
	return nil
}

// prepare makes the folders and the settings.
func (s *Stack) prepare() error {
	if err := s.mount(); err != nil {
		return err
	}
	for _, name := range []string{"etc", "tmp", "images", "locks", "rabbit", "neutron", "nova/instances", "keys/fernet", "keys/credential"} {
		if err := os.MkdirAll(filepath.Join(s.State, name), 0o700); err != nil {
			return err
		}
	}
	return s.writeSettings()
}

// together runs steps at the same time; the first error ends all of them.
func together(ctx context.Context, steps ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range steps {
		group.Go(func() error { return one(ctx) })
	}
	return group.Wait()
}
