// Command packcharm packs the charm from a built binary, without charmcraft.
//
//	packcharm --binary bin/github-runner-amd64 [--charm .] [--output .]
//
// It writes github-runner_<architecture>.charm and prints its path. The same
// sources and toolchain give the same bytes.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github-runner/lab/charmfile"
	"github-runner/lab/licences"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "packcharm:", err)
		os.Exit(1)
	}
}

// listDeadline bounds the go command, which may have to fetch modules.
const listDeadline = 5 * time.Minute

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("packcharm", flag.ContinueOnError)
	flags.SetOutput(stderr)
	binary := flags.String("binary", "", "the charm's program, static and for Linux")
	dir := flags.String("charm", ".", "folder with metadata.yaml and go.mod")
	pkg := flags.String("package", "./cmd/github-runner", "what the program was built from")
	version := flags.String("version", "", "the charm's version (default: as stamped into the program)")
	output := flags.String("output", ".", "folder for the .charm file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *binary == "" || flags.NArg() > 0 {
		return fmt.Errorf("cannot pack: give --binary and nothing beside options")
	}
	arch, err := charmfile.Architecture(*binary)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	texts, err := licences.Find(ctx, *dir, *pkg, arch)
	if err != nil {
		return err
	}
	charm := charmfile.Charm{Dir: *dir, Binary: *binary, Version: *version, Licences: make(map[string][]byte)}
	for _, text := range texts {
		charm.Licences[text.Name] = text.Content
	}
	path := filepath.Join(*output, charmfile.BinaryName+"_"+arch+".charm")
	if err := packTo(path, charm); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, path)
	return err
}

// packTo replaces the file as a whole, or leaves it as it was.
func packTo(path string, charm charmfile.Charm) error {
	var packed bytes.Buffer
	if err := charmfile.Pack(&packed, charm); err != nil {
		return err
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, packed.Bytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the charm: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("cannot write the charm: %w", err)
	}
	return nil
}
