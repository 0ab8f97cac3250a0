package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/canonical/lxd/shared/api"
)

const (
	defaultWait = 20 * time.Second
	// fileInterval is how often a folder of another process is looked into.
	fileInterval = 20 * time.Millisecond
)

// cloudWait waits by LXD's events.
func cloudWait(ctx context.Context, c cloud, args []string) error {
	flags, _ := labFlags(c.env, "cloud wait")
	pattern := flags.String("name", "*", "shell pattern of the names that count")
	status := flags.String("status", "", "status that counts: running, stopped, …; default: any")
	count := flags.Int("count", -1, "how many there must be; default: at least one")
	timeout := flags.Duration("timeout", defaultWait, "how long at most")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("unexpected argument %q", rest[0])
	}
	if _, err := path.Match(*pattern, ""); err != nil {
		return usagef("bad pattern %q", *pattern)
	}
	listener, err := c.server.GetEvents()
	if err != nil {
		return fmt.Errorf("cannot watch LXD's events: %w", err)
	}
	defer listener.Disconnect()
	changed := make(chan struct{}, 1)
	_, err = listener.AddHandler([]string{"lifecycle"}, func(api.Event) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("cannot watch LXD's events: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	for {
		have, err := c.matching(*pattern, *status)
		if err != nil {
			return err
		}
		if have == *count || *count < 0 && have > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait any longer: %d instances fit after %s", have, *timeout)
		}
	}
}

func (c cloud) matching(pattern, status string) (int, error) {
	infos, err := c.instances()
	if err != nil {
		return 0, err
	}
	count := 0
	for _, i := range infos {
		fits, err := path.Match(pattern, i.Name)
		if err == nil && fits && (status == "" || status == i.Status) {
			count++
		}
	}
	return count, nil
}

func cloudWaitFile(ctx context.Context, c cloud, args []string) error {
	flags, _ := labFlags(c.env, "cloud wait-file")
	timeout := flags.Duration("timeout", defaultWait, "how long at most")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usagef("it is: lab cloud wait-file NAME FILE")
	}
	dir, err := c.exchangeDir(rest[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	tick := time.NewTicker(fileInterval)
	defer tick.Stop()
	for {
		_, err := os.Lstat(filepath.Join(dir, rest[1]))
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot wait for a file of %s: %w", rest[0], err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait any longer: %s has no file %s after %s", rest[0], rest[1], *timeout)
		}
	}
}
