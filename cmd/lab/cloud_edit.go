package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// edits splits arguments into names, of which all are meant when none is given,
// and KEY=VALUE.
func edits(args []string, all []string, standard map[string]string) (names []string, config map[string]string, err error) {
	if len(args) == 0 {
		return all, standard, nil
	}
	if len(args) == 1 {
		return args, standard, nil
	}
	config = make(map[string]string)
	for _, arg := range args[1:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, nil, usagef("%q is not KEY=VALUE", arg)
		}
		config[key] = value
	}
	return args[:1], config, nil
}

func cloudEditProfile(_ context.Context, _ target, c lxdCloud, args []string) error {
	all, err := c.server.GetProfileNames()
	if err != nil {
		return fmt.Errorf("cannot list the profiles: %w", err)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return name == "default" })
	names, config, err := edits(args, all, map[string]string{"limits.processes": "4321"})
	if err != nil {
		return err
	}
	for _, name := range names {
		profile, etag, err := c.server.GetProfile(name)
		if err != nil {
			return fmt.Errorf("cannot edit profile %s: %w", name, err)
		}
		put := profile.Writable()
		maps.Copy(put.Config, config)
		if err := c.server.UpdateProfile(name, put, etag); err != nil {
			return fmt.Errorf("cannot edit profile %s: %w", name, err)
		}
	}
	return nil
}

func cloudEditNetwork(_ context.Context, _ target, c lxdCloud, args []string) error {
	all, err := c.server.GetNetworks()
	if err != nil {
		return fmt.Errorf("cannot list the networks: %w", err)
	}
	var managed []string
	for _, network := range all {
		if network.Managed {
			managed = append(managed, network.Name)
		}
	}
	names, config, err := edits(args, managed, map[string]string{"ipv4.nat": "false"})
	if err != nil {
		return err
	}
	for _, name := range names {
		network, etag, err := c.server.GetNetwork(name)
		if err != nil {
			return fmt.Errorf("cannot edit network %s: %w", name, err)
		}
		put := network.Writable()
		maps.Copy(put.Config, config)
		if err := c.server.UpdateNetwork(name, put, etag); err != nil {
			return fmt.Errorf("cannot edit network %s: %w", name, err)
		}
	}
	return nil
}
