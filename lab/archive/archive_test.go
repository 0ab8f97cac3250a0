package archive

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github-runner/lab/skip"
)

// What apt checks must be right: the release tells the list's checksum, the list that
// of each package.
func TestChecksums(t *testing.T) {
	if _, err := exec.LookPath(Tool); err != nil {
		skip.Because(t, "an archive of packages: %v", err)
	}
	folder := t.TempDir()
	if err := Make(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	list := read("Packages")
	if want := fmt.Sprintf(" %x %d Packages\n", sha256.Sum256([]byte(list)), len(list)); !strings.Contains(read("Release"), want) {
		t.Errorf("the release does not say %q:\n%s", want, read("Release"))
	}
	for name, program := range packages {
		content := read(name + ".deb")
		for _, want := range []string{
			"Package: " + name + "\n",
			fmt.Sprintf("Filename: ./%s.deb\nSize: %d\nSHA256: %x\n", name, len(content), sha256.Sum256([]byte(content))),
		} {
			if !strings.Contains(list, want) {
				t.Errorf("the list of packages does not say %q:\n%s", want, list)
			}
		}
		out, err := exec.Command(Tool, "--contents", filepath.Join(folder, name+".deb")).Output()
		if err != nil || !strings.Contains(string(out), "./usr/bin/"+program+"\n") {
			t.Errorf("%s has no program %s: %s, %v", name, program, out, err)
		}
	}
}

func TestFolderThatIsNotThere(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "missing")
	if err := Make(t.Context(), folder); err == nil || !strings.Contains(err.Error(), folder) {
		t.Errorf("an archive in %s: %v", folder, err)
	}
}
