package main

import (
	"context"
	"fmt"
	"path"
	"time"
)

const (
	defaultWait = time.Minute
	// fileInterval is how often a folder of another process is looked into.
	fileInterval = 20 * time.Millisecond
)

func cloudWait(ctx context.Context, t target, args []string) error {
	flags, _ := labFlags(t.env, "cloud wait")
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
	limit, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	changed, err := t.Watch(limit)
	if err != nil {
		return err
	}
	for {
		have, err := t.matching(ctx, *pattern, *status)
		if err != nil {
			return err
		}
		if have == *count || *count < 0 && have > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-limit.Done():
			return fmt.Errorf("cannot wait any longer: %d instances fit after %s", have, *timeout)
		}
	}
}

func (t target) matching(ctx context.Context, pattern, status string) (int, error) {
	infos, err := t.Instances(ctx)
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

func cloudWaitFile(ctx context.Context, t target, args []string) error {
	flags, _ := labFlags(t.env, "cloud wait-file")
	timeout := flags.Duration("timeout", defaultWait, "how long at most")
	rest, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(rest) != 2 {
		return usagef("it is: lab cloud wait-file NAME FILE")
	}
	guests, err := t.guests()
	if err != nil {
		return err
	}
	folder, err := guests.Exchange(ctx, rest[0])
	if err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	tick := time.NewTicker(fileInterval)
	defer tick.Stop()
	for {
		there, err := folder.Has(ctx, rest[1])
		if err != nil {
			return fmt.Errorf("cannot wait for a file of %s: %w", rest[0], err)
		}
		if there {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			return fmt.Errorf("cannot wait any longer: %s has no file %s after %s", rest[0], rest[1], *timeout)
		}
	}
}
