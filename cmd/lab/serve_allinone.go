package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github-runner/lab"
	"github-runner/lab/allinone"
	"github-runner/lab/image"
)

// cmdKeepAllinone is the first process of a real OpenStack's namespaces.
func cmdKeepAllinone(ctx context.Context, _ environment, args []string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot start OpenStack: %w", err)
	}
	status, err := allinone.Init(ctx, append([]string{program, "serve-allinone"}, args...)...)
	if err != nil {
		return fmt.Errorf("cannot start OpenStack: %w", err)
	}
	return exitStatus(status)
}

// cmdServeAllinone runs a real OpenStack until ctx ends.
func cmdServeAllinone(ctx context.Context, env environment, args []string) error {
	flags := newFlags("serve-allinone", env)
	dir := flags.String("dir", env.Dir, "the lab's directory")
	address := flags.String("address", "", "address that the services listen at")
	subnet := flags.String("subnet", "", "addresses of the servers")
	guests := flags.String("guests", string(allinone.Fake), "what servers are: fake or qemu")
	cache := flags.String("cache", image.DefaultCache, "folder for what the next one need not make again")
	var boots allinone.Image
	flags.StringVar(&boots.Disk, "disk", "", "image of a disk that servers boot from")
	flags.StringVar(&boots.Kernel, "kernel", "", "kernel that they boot")
	flags.StringVar(&boots.Initrd, "initrd", "", "initial RAM disk of the kernel")
	if err := parseAlone(flags, args); err != nil {
		return err
	}
	at, err := netip.ParseAddr(*address)
	if err != nil {
		return usagef("--address: %v", err)
	}
	servers, err := netip.ParsePrefix(*subnet)
	if err != nil {
		return usagef("--subnet: %v", err)
	}
	l := &lab.Lab{Dir: *dir}
	stack := &allinone.Stack{
		State: filepath.Join(*dir, "openstack"), Logs: l.LogDir(), Cache: *cache,
		CloudsFile: l.CloudsPath(), AdminFile: l.AdminPath(),
		Address: at, Subnet: servers, Guests: allinone.Guests(*guests), Image: boots,
		Report: func(step string) { fmt.Fprintln(env.Stdout, step) },
	}
	return stack.Run(ctx, func() { fmt.Fprintln(env.Stdout, "ready") })
}
