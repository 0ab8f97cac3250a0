package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github-runner/lab"
	"github-runner/lab/pythoncharm"
)

// recorder stands in for systemctl in hooks: nothing of the machine's own is to be
// changed by a lab. It writes down what it was asked for.
const recorder = "#!/bin/sh\necho \"$@\" >> %s\n"

// cloudAddPythonCharm makes a unit look as if it had been the Python charm's.
func cloudAddPythonCharm(ctx context.Context, t target, c lxdCloud, args []string) error {
	flags := newFlags("cloud add-python-charm", t.env)
	runners := flags.Int("runners", 1, "how many of its runners there are")
	path := flags.String("path", "acme/widgets", "where they are registered")
	token := flags.String("token", "ghp_example", "what they are managed with")
	onStorage := flags.Bool("on-storage", false, "whether its pool is on the storage that the unit has")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 || !strings.Contains(rest[0], "/") {
		return usagef("it is: lab cloud add-python-charm APPLICATION/NUMBER [--runners N] [--path PATH] [--token TOKEN]")
	}
	charmDir, err := t.charmDir(rest[0])
	if err != nil {
		return err
	}
	storage := ""
	if *onStorage {
		if storage, err = t.storage(); err != nil {
			return err
		}
	}
	layout := pythoncharm.Layout{
		Unit: rest[0], Path: *path, Token: *token, CharmDir: charmDir,
		Root: t.lab.Root, Storage: storage, Mounts: t.lab.Cloud == lab.CloudLXD, LXD: c.server,
	}
	if err := layout.WriteFiles(); err != nil {
		return err
	}
	if err := t.recordSystemctl(); err != nil {
		return err
	}
	if err := layout.SetUp(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	for range *runners {
		name, err := layout.AddRunner(ctx, t.lab.GitHubURL)
		if err != nil {
			return err
		}
		fmt.Fprintln(t.env.Stdout, name)
	}
	return nil
}

// charmDir is where a unit has its charm, or would have it.
func (t target) charmDir(unit string) (string, error) {
	tag := "unit-" + strings.ReplaceAll(unit, "/", "-")
	agents, err := filepath.Glob(filepath.Join(t.lab.Dir, "juju", "models", "*", "agents"))
	if err != nil || len(agents) == 0 {
		return "", fmt.Errorf("cannot make %s one of the Python charm's: deploy something first", unit)
	}
	return filepath.Join(agents[0], tag, "charm"), nil
}

// storage is where the first of the lab's storages is attached.
func (t target) storage() (string, error) {
	found, err := filepath.Glob(filepath.Join(t.lab.Dir, "juju", "models", "*", "storage", "*-0"))
	if err != nil || len(found) == 0 {
		return "", errors.New("cannot find a storage: deploy the unit with --storage runner")
	}
	return found[0], nil
}

// recordSystemctl makes hooks believe in a systemd, and writes down what they ask
// of it.
func (t target) recordSystemctl() error {
	if err := os.MkdirAll(filepath.Join(t.lab.Root, "run", "systemd", "system"), 0o755); err != nil {
		return fmt.Errorf("cannot stand in for systemd: %w", err)
	}
	script := fmt.Sprintf(recorder, filepath.Join(t.lab.Dir, "systemctl.log"))
	if err := os.WriteFile(filepath.Join(t.lab.Dir, "juju", "tools", "systemctl"), []byte(script), 0o755); err != nil {
		return fmt.Errorf("cannot stand in for systemctl: %w", err)
	}
	return nil
}
