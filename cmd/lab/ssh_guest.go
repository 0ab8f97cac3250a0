package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github-runner/lab/openstack"
)

// cmdSSHGuest joins standard input and output to the SSH server of a guest in the
// lab's emulated OpenStack, as OpenSSH's ProxyCommand.
func cmdSSHGuest(ctx context.Context, env environment, args []string) error {
	if len(args) != 1 {
		return usagef("ssh-guest takes the address of a guest: %q", args)
	}
	conn, err := openstack.DialGuestAt(ctx, env.Dir, args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		_, _ = io.Copy(conn, env.Stdin) // ends with either
		conn.Close()
	}()
	if _, err := io.Copy(env.Stdout, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("the connection to the guest broke: %w", err)
	}
	return nil
}
