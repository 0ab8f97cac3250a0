// Command packcharm packs the charm from built programs, without charmcraft.
//
//	packcharm --binary bin/amd64/github-runner --pebble bin/amd64/pebble [--charm .] [--output .]
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

// pebbleModule is the folder, below the charm's, of the module that pins Pebble;
// pebblePackage is what its program is built from.
const (
	pebbleModule  = "tools/pebble"
	pebblePackage = "github.com/canonical/pebble/cmd/pebble"
)

// listDeadline bounds the go command, which may have to fetch modules.
const listDeadline = 5 * time.Minute

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("packcharm", flag.ContinueOnError)
	flags.SetOutput(stderr)
	binary := flags.String("binary", "", "the charm's program, static and for Linux")
	pebble := flags.String("pebble", "", "Pebble's program, static and for Linux, built in "+pebbleModule)
	dir := flags.String("charm", ".", "folder with metadata.yaml and go.mod")
	pkg := flags.String("package", "./cmd/github-runner", "what the program was built from")
	version := flags.String("version", "", "the charm's version (default: as stamped into the program)")
	output := flags.String("output", ".", "folder for the .charm file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *binary == "" || *pebble == "" || flags.NArg() > 0 {
		return fmt.Errorf("cannot pack: give --binary, --pebble and nothing beside options")
	}
	arch, err := charmfile.Architecture(*binary)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, listDeadline)
	defer cancel()
	texts, err := findLicences(ctx, *dir, *pkg, arch)
	if err != nil {
		return err
	}
	charm := charmfile.Charm{Dir: *dir, Binary: *binary, Pebble: *pebble, Version: *version, Licences: texts}
	path := filepath.Join(*output, charmfile.BinaryName+"_"+arch+".charm")
	if err := packTo(path, charm); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, path)
	return err
}

// findLicences returns the texts for both programs. Those for Pebble have a folder
// of their own: the two may have modules in common in different versions.
func findLicences(ctx context.Context, dir, pkg, arch string) (map[string][]byte, error) {
	found := make(map[string][]byte)
	texts, err := licences.Find(ctx, dir, pkg, arch)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		found[text.Name] = text.Content
	}
	texts, err = licences.Find(ctx, filepath.Join(dir, pebbleModule), pebblePackage, arch)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		found[charmfile.PebbleName+"/"+text.Name] = text.Content
	}
	return found, nil
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
