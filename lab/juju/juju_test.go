package juju

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// deadline bounds every wait of a test.
const deadline = 60 * time.Second

// TestMain makes the test's own program every hook tool.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); IsTool(name) {
		code := ToolMain(name, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
		// Not os.Exit, which takes a second under the race detector.
		syscall.Exit(code)
	}
	os.Exit(m.Run())
}

// lab is a running Server with a folder for charms.
type lab struct {
	*testing.T
	dir    string
	charms string
	server *Server
	stop   func()
}

func newLab(t *testing.T) *lab {
	t.Helper()
	// A short path, because a socket's is short.
	dir, err := os.MkdirTemp("", "juju-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l := &lab{T: t, dir: dir, charms: t.TempDir()}
	l.start()
	t.Cleanup(func() { l.stop() })
	return l
}

func (l *lab) start() {
	l.Helper()
	program, err := os.Executable()
	if err != nil {
		l.Fatal(err)
	}
	logger := logrus.New()
	logger.SetOutput(l.Output())
	l.server, err = NewServer(Options{
		Dir: l.dir, GitHubURL: "http://github.lab", Variables: []string{"LXD_DIR=/l", "GITHUB_RUNNER_ROOT=/r"},
		Program: program, FirstRetry: 50 * time.Millisecond, Log: logrus.NewEntry(logger),
	})
	if err != nil {
		l.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.server.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		l.Fatal(err)
	}
	l.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			l.Error(err)
		}
		l.stop = func() {}
	}
}

// juju runs a command that has to succeed and returns its standard output.
func (l *lab) juju(args ...string) string {
	l.Helper()
	stdout, stderr, code := l.try(args...)
	if code != 0 {
		l.Fatalf("juju %q: exit status %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

func (l *lab) try(args ...string) (stdout, stderr string, code int) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), deadline)
	defer cancel()
	var out, problems bytes.Buffer
	code, err := Run(ctx, l.dir, args, l.charms, false, &out, &problems)
	if err != nil {
		l.Fatalf("juju %q: %v\n%s%s", args, err, &out, &problems)
	}
	return out.String(), problems.String(), code
}

// refused runs a command that has to fail with a text.
func (l *lab) refused(want string, args ...string) {
	l.Helper()
	_, stderr, code := l.try(args...)
	if code == 0 || !strings.Contains(stderr, want) {
		l.Errorf("juju %q: exit status %d, %q; want a refusal with %q", args, code, stderr, want)
	}
}

// until waits until the model is as condition wants it.
func (l *lab) until(condition func(s *state) bool) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), deadline)
	defer cancel()
	if err := l.server.waitFor(ctx, func() bool { return condition(l.server.state) }); err != nil {
		l.Fatal(err)
	}
}

// notes is what the hooks of probe charms wrote into a file of the charms'
// folder.
func (l *lab) notes(name string) string {
	l.Helper()
	content, err := os.ReadFile(filepath.Join(l.charms, name))
	if err != nil && !os.IsNotExist(err) {
		l.Fatal(err)
	}
	return string(content)
}

func (l *lab) wantNotes(name, want string) {
	l.Helper()
	if got := l.notes(name); got != want {
		l.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// statusOf is the part of 'status --format json' that tests look at.
type statusOf struct {
	Applications map[string]struct {
		Version string `json:"version"`
		Status  struct {
			Current string `json:"current"`
		} `json:"application-status"`
		Relations map[string][]struct {
			Application string `json:"related-application"`
		} `json:"relations"`
		Units map[string]struct {
			Workload struct {
				Current string `json:"current"`
				Message string `json:"message"`
			} `json:"workload-status"`
			Agent struct {
				Current string `json:"current"`
			} `json:"juju-status"`
			Leader bool `json:"leader"`
		} `json:"units"`
	} `json:"applications"`
}

func (l *lab) status(args ...string) statusOf {
	l.Helper()
	var s statusOf
	if err := json.Unmarshal([]byte(l.juju(append([]string{"status", "--format", "json"}, args...)...)), &s); err != nil {
		l.Fatal(err)
	}
	return s
}

func (l *lab) wantUnit(name, current, message string) {
	l.Helper()
	app, _, _ := strings.Cut(name, "/")
	u := l.status().Applications[app].Units[name]
	if u.Workload.Current != current || u.Workload.Message != message {
		l.Errorf("%s: got %s %q, want %s %q", name, u.Workload.Current, u.Workload.Message, current, message)
	}
}

// probe is what a probe charm is made from; file names lead to their content.
type probe map[string]string

// everyHook names its hook in the file "order".
const everyHook = `echo "$JUJU_UNIT_NAME ${JUJU_DISPATCH_PATH#*/}" >> $OUT/order
`

// pack writes a .charm. In scripts, $OUT is the charms' folder.
func (l *lab) pack(name string, files probe) string {
	l.Helper()
	all := probe{
		"metadata.yaml": "name: probe\nsummary: s\ndescription: d\n",
		"manifest.yaml": "bases: [{name: ubuntu, channel: \"24.04\", architectures: [amd64]}]\n",
	}
	for file, content := range files {
		all[file] = content
	}
	path := filepath.Join(l.charms, name)
	out, err := os.Create(path)
	if err != nil {
		l.Fatal(err)
	}
	defer out.Close()
	w := zip.NewWriter(out)
	for file, content := range all {
		header := &zip.FileHeader{Name: file}
		header.SetMode(0o644)
		if dir := filepath.Dir(file); dir == "hooks" || dir == "actions" {
			header.SetMode(fs.FileMode(0o755))
			content = "#!/bin/bash\nOUT=" + l.charms + "\n" + content
		}
		part, err := w.CreateHeader(header)
		if err != nil {
			l.Fatal(err)
		}
		if _, err := part.Write([]byte(content)); err != nil {
			l.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		l.Fatal(err)
	}
	return path
}
