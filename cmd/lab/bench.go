package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github-runner/lab"
	"github-runner/lab/bench"
	"github-runner/lab/image"
)

// cmdBench measures the charm and prints the figures. A target that is missed is
// said and no failure: times depend on the machine.
func cmdBench(ctx context.Context, env environment, args []string) error {
	if len(args) == 3 && benchFloors()[args[0]] != nil {
		return benchFloors()[args[0]](ctx, env.Stdout, args[1], args[2])
	}
	flags := newFlags("bench", env)
	cloud := flags.String("cloud", lab.CloudAuto, "lxd, emulated, or auto: real LXD where it can run")
	dir := flags.String("dir", env.Dir, "the lab to use with real LXD; where none is, one is up for the time of this")
	charm := flags.String("charm", "", "the charm's program (default: github-runner beside this one)")
	rounds := flags.Int("rounds", 3, "how often each start of containers is measured; hooks five times as often")
	format := flags.String("format", "tabular", "tabular or json")
	var sizes []int
	flags.Func("runners", "numbers of runners instead of the benchmark's own, with commas", func(text string) error {
		for _, one := range strings.Split(text, ",") {
			n, err := strconv.Atoi(one)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of runners", one)
			}
			sizes = append(sizes, n)
		}
		return nil
	})
	names, err := parse(flags, args)
	if err != nil {
		return err
	}
	if *format != "tabular" && *format != "json" {
		return usagef("format %q is neither tabular nor json", *format)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot measure: %w", err)
	}
	if *charm == "" {
		*charm = filepath.Join(filepath.Dir(program), "github-runner")
	}
	measured, err := filepath.Abs(*charm)
	if err != nil {
		return fmt.Errorf("cannot measure: %w", err)
	}
	if _, err := os.Stat(measured); err != nil {
		return fmt.Errorf("cannot measure the charm: %w; 'make build' builds it", err)
	}
	report, err := bench.Run(ctx, bench.Options{
		Benchmarks: names,
		Cloud:      *cloud,
		Dir:        *dir,
		Rounds:     *rounds,
		Sizes:      sizes,
		Charm:      measured,
		Lab:        program,
		Images:     image.Builder{Cache: image.DefaultCache, Mirror: image.DefaultMirror},
		Progress:   env.Stderr,
	})
	if printErr := printReport(env, *format, report); err == nil {
		err = printErr
	}
	return err
}

// benchFloors are the floors that are processes of their own, by what runs them.
func benchFloors() map[string]func(ctx context.Context, w io.Writer, cloud, githubAPI string) error {
	return map[string]func(ctx context.Context, w io.Writer, cloud, githubAPI string) error{
		bench.ListCommand:        bench.List,
		bench.ListServersCommand: bench.ListServers,
	}
}

func printReport(env environment, format string, report bench.Report) error {
	if len(report.Results)+len(report.Skipped) == 0 {
		return nil
	}
	if format == "tabular" {
		return report.Print(env.Stdout)
	}
	encoder := json.NewEncoder(env.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
}
