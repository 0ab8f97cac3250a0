package licences_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/licensecheck"

	"github-runner/lab/licences"
)

const (
	root   = "../.."
	binary = "./cmd/github-runner"
	lxd    = "github.com/canonical/lxd"
	pebble = "github.com/canonical/pebble"
)

// programs are what the charm is packed with: each in its module's folder.
var programs = []struct{ dir, pkg string }{
	{root, binary},
	{root + "/tools/pebble", pebble + "/cmd/pebble"},
}

// allowed are the licences that ask for no more than to be named, by their SPDX
// identifiers.
var allowed = []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense"}

// copyleft are the modules whose licence is why the programs are distributed
// under the GPL-3.0, with its text and a word on where the sources are.
var copyleft = map[string][]string{
	pebble:                      {"GPL-3.0", "GPL-3.0-or-later"},
	"github.com/canonical/x-go": {"GPL-3.0", "LGPL-3.0"},
}

// refused returns what is not allowed in a text, or nothing.
func refused(content []byte, besides ...string) string {
	coverage := licensecheck.Scan(content)
	if len(coverage.Match) == 0 {
		return "no licence that is known"
	}
	for _, match := range coverage.Match {
		if !slices.Contains(allowed, match.ID) && !slices.Contains(besides, match.ID) && !match.IsURL {
			return match.ID
		}
	}
	return ""
}

func find(t *testing.T, arch string) []licences.Text {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var found []licences.Text
	for _, program := range programs {
		texts, err := licences.Find(ctx, program.dir, program.pkg, arch)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, texts...)
	}
	return found
}

// besides are the licences that are allowed for a text of one module alone.
func besides(text licences.Text) []string {
	for module, ids := range copyleft {
		if strings.HasPrefix(text.Name, module+"/") {
			return ids
		}
	}
	return nil
}

func TestEverythingBuiltInMayBeGivenAway(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		packages := make(map[string]bool)
		for _, text := range find(t, arch) {
			for _, p := range text.Packages {
				packages[p] = true
			}
			if len(text.Packages) == 0 {
				continue
			}
			if why := refused(text.Content, besides(text)...); why != "" {
				t.Errorf("%s: the licence of %s is %s", arch, strings.Join(text.Packages, ", "), why)
			}
		}
		for p := range packages {
			if strings.HasPrefix(p, lxd+"/") && !strings.HasPrefix(p, lxd+"/client") && !strings.HasPrefix(p, lxd+"/shared") {
				t.Errorf("%s: %s is built in: of LXD only client and shared are Apache-2.0", arch, p)
			}
		}
		// What is surely there shows that the search finds anything.
		for _, p := range []string{lxd + "/client", pebble + "/client", pebble + "/cmd/pebble", "github.com/sirupsen/logrus", "net/http"} {
			if !packages[p] {
				t.Errorf("%s: %s is not among the %d packages found", arch, p, len(packages))
			}
		}
	}
}

func TestLXDsServerWouldBeRefused(t *testing.T) {
	command := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", lxd)
	command.Dir = root
	dir, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "COPYING"))
	if err != nil {
		t.Fatal(err)
	}
	if why := refused(content); !strings.HasPrefix(why, "AGPL") {
		t.Errorf("the licence of LXD's server is refused for %q", why)
	}
	if refused([]byte("All rights reserved.")) == "" {
		t.Error("a text that is no licence is allowed")
	}
}

func TestFindNamesWhatItCannotList(t *testing.T) {
	_, err := licences.Find(t.Context(), root, "./no/such/package", "amd64")
	if err == nil || !strings.Contains(err.Error(), "./no/such/package") {
		t.Errorf("Find: %v", err)
	}
}
