package charmfile

import (
	"archive/zip"
	"cmp"
	"debug/buildinfo"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// BinaryName is the charm's one program: the file that hooks/ and actions/ link
// to.
const BinaryName = "github-runner"

// PebbleName is the daemon that supervises the unit's services, beside it.
const PebbleName = "pebble"

// Charm is what a .charm file is made from.
type Charm struct {
	// Dir is the folder with metadata.yaml, config.yaml, actions.yaml,
	// charmcraft.yaml, LICENSE, NOTICE, icon.svg, hooks and actions.
	Dir string
	// Binary is the path of the program: static, for Linux. The charm's
	// architecture is that of its binary.
	Binary string
	// Pebble is the path of Pebble's program, static and for the same
	// architecture.
	Pebble string
	// Version goes into the file "version"; empty takes the version that the
	// go command stamped into the binary.
	Version string
	// Licences are the texts for what is built into the programs, by the name
	// that each has in the folder "licenses".
	Licences map[string][]byte
}

// entry is one file of the zip.
type entry struct {
	name    string
	mode    fs.FileMode
	content []byte
}

// timestamp is that of all entries: the first that a zip can hold.
var timestamp = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// topFiles are copied as they are.
var topFiles = []string{"metadata.yaml", "config.yaml", "actions.yaml", "LICENSE", "NOTICE", "icon.svg"}

// Pack writes the .charm file. The same parts give the same bytes, whenever and
// wherever they are packed.
func Pack(w io.Writer, charm Charm) error {
	entries, err := collect(charm)
	if err != nil {
		return fmt.Errorf("cannot pack charm %s: %w", charm.Dir, err)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	archive := zip.NewWriter(w)
	for _, e := range entries {
		if err := write(archive, e); err != nil {
			return fmt.Errorf("cannot pack %s: %w", e.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("cannot pack charm %s: %w", charm.Dir, err)
	}
	return nil
}

func write(archive *zip.Writer, e entry) error {
	header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: timestamp}
	header.SetMode(e.mode)
	if e.mode.IsDir() {
		header.Method = zip.Store
	}
	w, err := archive.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = w.Write(e.content)
	return err
}

func collect(charm Charm) ([]entry, error) {
	arch, err := Architecture(charm.Binary)
	if err != nil {
		return nil, err
	}
	binary, err := os.ReadFile(charm.Binary)
	if err != nil {
		return nil, err
	}
	pebble, err := readPebble(charm.Pebble, arch)
	if err != nil {
		return nil, err
	}
	version, err := versionOf(charm)
	if err != nil {
		return nil, err
	}
	manifest, err := manifestFor(filepath.Join(charm.Dir, "charmcraft.yaml"), arch)
	if err != nil {
		return nil, err
	}
	entries := []entry{
		{BinaryName, 0o755, binary},
		{PebbleName, 0o755, pebble},
		{"version", 0o644, []byte(version + "\n")},
		{"manifest.yaml", 0o644, manifest},
	}
	for _, name := range topFiles {
		content, err := os.ReadFile(filepath.Join(charm.Dir, name))
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{name, 0o644, content})
	}
	for _, folder := range []string{"hooks", "actions"} {
		links, err := collectLinks(charm.Dir, folder)
		if err != nil {
			return nil, err
		}
		entries = append(entries, links...)
	}
	return append(entries, licenceEntries(charm.Licences)...), nil
}

// readPebble reads Pebble's program, which must run where the charm's does.
func readPebble(path, arch string) ([]byte, error) {
	its, err := Architecture(path)
	if err != nil {
		return nil, err
	}
	if its != arch {
		return nil, fmt.Errorf("cannot use %s as the charm's Pebble: it is for %s, the charm's binary for %s", path, its, arch)
	}
	return os.ReadFile(path)
}

// collectLinks takes the links of hooks/ or actions/. Juju would run whatever
// lies there, so anything else is an error.
func collectLinks(dir, folder string) ([]entry, error) {
	files, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil {
		return nil, err
	}
	entries := []entry{{folder + "/", fs.ModeDir | 0o755, nil}}
	for _, file := range files {
		name := folder + "/" + file.Name()
		target, err := os.Readlink(filepath.Join(dir, name))
		if err != nil || target != "../"+BinaryName {
			return nil, fmt.Errorf("%s is not a link to ../%s", name, BinaryName)
		}
		entries = append(entries, entry{name, fs.ModeSymlink | 0o777, []byte(target)})
	}
	return entries, nil
}

// licenceEntries makes the folder "licenses" with the folders in it.
func licenceEntries(licences map[string][]byte) []entry {
	var entries []entry
	folders := make(map[string]bool)
	for name, content := range licences {
		name = "licenses/" + name
		entries = append(entries, entry{name, 0o644, content})
		for i := range name {
			if folder := name[:i+1]; strings.HasSuffix(folder, "/") && !folders[folder] {
				folders[folder] = true
				entries = append(entries, entry{folder, fs.ModeDir | 0o755, nil})
			}
		}
	}
	return entries
}

func versionOf(charm Charm) (string, error) {
	if charm.Version != "" {
		return charm.Version, nil
	}
	info, err := buildinfo.ReadFile(charm.Binary)
	if err != nil {
		return "", err
	}
	return info.Main.Version, nil
}
