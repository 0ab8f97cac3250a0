// Package licences finds the licence texts of everything that is built into a
// binary, package by package: a module may have several.
package licences

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Text is one licence or notice, and the packages that it is for.
type Text struct {
	// Name is a path to tell texts apart by: the module's path and the file's
	// place in it, such as github.com/canonical/lxd/client/COPYING.
	Name    string
	Content []byte
	// Packages are the import paths of the packages it is nearest to; none for
	// a notice beside a licence.
	Packages []string
}

type listedPackage struct {
	ImportPath string
	Dir        string
	Root       string
	Standard   bool
	Module     *listedModule
}

type listedModule struct {
	Path string
	Dir  string
	Main bool
}

// Find returns the texts for the packages of others that are built into the
// main package pkg for Linux on arch (a GOARCH), in order of name. It asks the
// go command in dir, the folder of the main module. A package without a licence
// is an error. Go's own library is under "go"; a distribution's Go has no text
// for it.
func Find(ctx context.Context, dir, pkg, arch string) ([]Text, error) {
	packages, err := list(ctx, dir, pkg, arch)
	if err != nil {
		return nil, fmt.Errorf("cannot list the packages of %s: %w", pkg, err)
	}
	texts := make(map[string]*Text)
	for _, p := range packages {
		if err := add(texts, p); err != nil {
			return nil, err
		}
	}
	var sorted []Text
	for _, text := range texts {
		sorted = append(sorted, *text)
	}
	slices.SortFunc(sorted, func(a, b Text) int { return strings.Compare(a.Name, b.Name) })
	return sorted, nil
}

func list(ctx context.Context, dir, pkg, arch string) ([]listedPackage, error) {
	command := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Dir,Root,Standard,Module", pkg)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var packages []listedPackage
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p listedPackage
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, err
		}
		packages = append(packages, p)
	}
}

// add looks from the package's folder upwards to the module's: the nearest
// licence is the one that counts.
func add(texts map[string]*Text, p listedPackage) error {
	if p.Standard {
		return addGo(texts, p)
	}
	if p.Module == nil || p.Module.Main {
		return nil
	}
	for dir := p.Dir; ; dir = filepath.Dir(dir) {
		found, err := addFrom(texts, p, dir)
		if found || err != nil {
			return err
		}
		if dir == p.Module.Dir || len(dir) <= len(p.Module.Dir) {
			return fmt.Errorf("cannot find a licence for package %s in module %s", p.ImportPath, p.Module.Path)
		}
	}
}

func addGo(texts map[string]*Text, p listedPackage) error {
	const name = "go/LICENSE"
	if texts[name] == nil {
		content, err := os.ReadFile(filepath.Join(p.Root, "LICENSE"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		texts[name] = &Text{Name: name, Content: content}
	}
	texts[name].Packages = append(texts[name].Packages, p.ImportPath)
	return nil
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)([-.](md|txt|mit|apache|bsd).*)?$`)
	noticeFile  = regexp.MustCompile(`(?i)^notice([-.](md|txt))?$`)
)

// addFrom adds what lies in one folder, and reports whether a licence did.
func addFrom(texts map[string]*Text, p listedPackage, dir string) (bool, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	found := false
	for _, file := range files {
		isLicence := licenceFile.MatchString(file.Name())
		if file.IsDir() || !isLicence && !noticeFile.MatchString(file.Name()) {
			continue
		}
		relative, err := filepath.Rel(p.Module.Dir, filepath.Join(dir, file.Name()))
		if err != nil {
			return false, err
		}
		name := path.Join(p.Module.Path, filepath.ToSlash(relative))
		if texts[name] == nil {
			content, err := os.ReadFile(filepath.Join(dir, file.Name()))
			if err != nil {
				return false, err
			}
			texts[name] = &Text{Name: name, Content: content}
		}
		if isLicence {
			texts[name].Packages = append(texts[name].Packages, p.ImportPath)
		}
		found = found || isLicence
	}
	return found, nil
}
