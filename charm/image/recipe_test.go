package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

func recipe() Recipe {
	return Recipe{
		Base:            "b45e",
		Application:     runner.Application{Version: "2.999.1", URL: "https://example.com/runner.tar.gz", SHA256: "a99"},
		YQ:              YQ("amd64"),
		ExchangeMounted: true,
	}
}

// document is what a machine for images gets, with its files by their paths.
func document(t *testing.T, userData []byte) map[string]string {
	t.Helper()
	var parsed struct {
		WriteFiles []cloudinit.File `yaml:"write_files"`
		RunCmd     [][]string       `yaml:"runcmd"`
	}
	text, isConfig := strings.CutPrefix(string(userData), "#cloud-config\n")
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil || !isConfig {
		t.Fatalf("no cloud-config, %v:\n%s", err, userData)
	}
	if want := [][]string{{workPath}}; !cmp.Equal(parsed.RunCmd, want) {
		t.Errorf("it runs %v, want %v", parsed.RunCmd, want)
	}
	files := map[string]string{}
	for _, one := range parsed.WriteFiles {
		files[one.Path] = content(t, one)
	}
	return files
}

// content is a file as cloud-init writes it.
func content(t *testing.T, one cloudinit.File) string {
	t.Helper()
	if one.Encoding == "" {
		return one.Content
	}
	zipped, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(one.Content)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestScriptsAreShell(t *testing.T) {
	nasty := "'\"$&\\`%"
	full := recipe()
	full.Packages = []string{"libfoo-dev"}
	full.Script = "#!/bin/sh\necho " + nasty
	full.Proxy = cloudinit.Proxy{HTTP: secret.New("http://u:" + nasty + "@proxy:3128"), HTTPS: secret.New("http://proxy:3128"), NoProxy: "10.0.0.0/8"}
	full.Application.URL = "https://example.com/" + nasty
	unmounted := recipe()
	unmounted.ExchangeMounted = false
	for name, r := range map[string]Recipe{"plain": recipe(), "full": full, "without a mounted folder": unmounted} {
		t.Run(name, func(t *testing.T) {
			for what, render := range map[string]func() ([]byte, error){"build": r.UserData, "trial": r.TrialUserData} {
				userData, err := render()
				if err != nil {
					t.Fatal(err)
				}
				script := document(t, userData)[workPath]
				check := exec.Command("bash", "-n")
				check.Stdin = strings.NewReader(script)
				if out, err := check.CombinedOutput(); err != nil {
					t.Errorf("%s: bash refuses the script: %v: %s\n%s", what, err, out, script)
				}
			}
		})
	}
}

// What the operator gives is an argument or a file, never a part of the script.
func TestOptionsAreQuoted(t *testing.T) {
	r := recipe()
	r.Packages = []string{"$(touch /tmp/x)"}
	r.Script = "#!/bin/sh\nexit 0\n"
	userData, err := r.UserData()
	if err != nil {
		t.Fatal(err)
	}
	files := document(t, userData)
	if !strings.Contains(files[workPath], ` '$(touch /tmp/x)'`) {
		t.Errorf("the package is not quoted:\n%s", files[workPath])
	}
	if files[scriptPath] != r.Script {
		t.Errorf("image-script is %q, want it as it was given", files[scriptPath])
	}
}

// Whatever a script has that is short enough, it fits.
func TestScriptThatIsTooLong(t *testing.T) {
	r := recipe()
	r.Script = "#!/bin/sh\n" + randomText(24<<10-10)
	if userData, err := r.UserData(); err != nil {
		t.Errorf("%d bytes do not fit: %v", len(r.Script), err)
	} else if got := document(t, userData)[scriptPath]; got != r.Script {
		t.Error("the script that arrives is another one")
	}
	r.Script = randomText(cloudinit.MaxSize)
	_, err := r.UserData()
	if err == nil || !strings.Contains(err.Error(), "shorten image-script") {
		t.Errorf("got %v, want the option to shorten", err)
	}
}

// randomText is what compression makes little of, in characters that YAML escapes.
func randomText(length int) string {
	dice := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, length)
	for i := range text {
		text[i] = byte(1 + dice.IntN(126))
	}
	return string(text)
}

// The proxy of the model is for the machine while it is made: it is in no file that
// becomes part of the image, and no reason to make one anew.
func TestProxyIsNoPartOfAnImage(t *testing.T) {
	r := recipe()
	r.Proxy = cloudinit.Proxy{HTTP: secret.New("http://u:pass@proxy:3128"), NoProxy: "10.0.0.0/8"}
	userData, err := r.UserData()
	if err != nil {
		t.Fatal(err)
	}
	files := document(t, userData)
	for path, content := range files {
		if strings.Contains(content, "pass") && path != workPath {
			t.Errorf("%s has the proxy's password", path)
		}
	}
	if !strings.Contains(files[workPath], "rm -rf "+filepath.Dir(workPath)) {
		t.Error("the script stays in the image")
	}
	if got, want := r.Hash(), recipe().Hash(); got != want {
		t.Errorf("the hash is %s with a proxy and %s without", got, want)
	}
}

func TestHash(t *testing.T) {
	same := recipe()
	same.Application.URL = "https://mirror.example.com/runner.tar.gz"
	same.Packages = []string{"jq"} // it is in every image
	if same.Hash() != recipe().Hash() {
		t.Error("recipes of the same image have different hashes")
	}
	for name, change := range map[string]func(*Recipe){
		"base":        func(r *Recipe) { r.Base = "other" },
		"application": func(r *Recipe) { r.Application.SHA256 = "other" },
		"yq":          func(r *Recipe) { r.YQ = YQ("arm64") },
		"packages":    func(r *Recipe) { r.Packages = []string{"podman"} },
		"script":      func(r *Recipe) { r.Script = "#!/bin/sh" },
	} {
		changed := recipe()
		change(&changed)
		if changed.Hash() == recipe().Hash() {
			t.Errorf("another %s leaves the hash as it is", name)
		}
	}
}

func TestYQIsPinned(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		if yq := YQ(arch); len(yq.SHA256) != 64 || !strings.HasSuffix(yq.URL, arch) {
			t.Errorf("yq for %s is %+v", arch, yq)
		}
	}
}

func TestCheckArchive(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatalf("there is no python3 ('make setup' installs it): %v", err)
	}
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
	}
	tests := map[string]struct {
		members []tar.Header
		refused string
	}{
		"GitHub's":              {members: []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, file("./run.sh"), link("./externals/node20/bin/npm", "../lib/npm-cli.js")}},
		"a file above":          {members: []tar.Header{file("run.sh"), file("../evil")}, refused: "'../evil' leads outside"},
		"a file further above":  {members: []tar.Header{file("a/../../evil")}, refused: "'a/../../evil' leads outside"},
		"a file of the machine": {members: []tar.Header{file("/etc/passwd")}, refused: "'/etc/passwd' leads outside"},
		"a link to the machine": {members: []tar.Header{link("bin", "/usr/bin")}, refused: "'bin' leads outside"},
		"a link above":          {members: []tar.Header{link("a/b", "../../c")}, refused: "'a/b' leads outside"},
		"a hard link above":     {members: []tar.Header{{Name: "a/b", Linkname: "../c", Typeflag: tar.TypeLink}}, refused: "'a/b' leads outside"},
		"a hard link":           {members: []tar.Header{file("c"), {Name: "a/b", Linkname: "c", Typeflag: tar.TypeLink}}},
		"a device":              {members: []tar.Header{{Name: "null", Typeflag: tar.TypeChar}}, refused: "'null' is no file"},
		"a pipe":                {members: []tar.Header{{Name: "pipe", Typeflag: tar.TypeFifo}}, refused: "'pipe' is no file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			writer := tar.NewWriter(&archive)
			for _, member := range test.members {
				if err := writer.WriteHeader(&member); err != nil {
					t.Fatal(err)
				}
			}
			writer.Close()
			path := filepath.Join(t.TempDir(), "archive.tar")
			if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("python3", "templates/check-archive.py", path).CombinedOutput()
			if refused := err != nil; refused != (test.refused != "") || !strings.Contains(string(out), test.refused) {
				t.Errorf("got %v: %s, want %q", err, out, test.refused)
			}
		})
	}
}
