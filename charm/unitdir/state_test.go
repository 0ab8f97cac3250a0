package unitdir

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
	"github-runner/lab/skip"
)

func TestStateSurvives(t *testing.T) {
	dir := open(t)
	state, err := dir.ReadState()
	must(t, err)
	if diff := cmp.Diff(State{}, state); diff != "" {
		t.Fatalf("a new unit remembers something:\n%s", diff)
	}
	since := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := State{
		Build:   "1.2.3",
		Applied: json.RawMessage(`{"path":"acme/widgets"}`),
		FormerScopes: []FormerScope{
			{Scope: Scope{API: "https://api.github.com", Path: "acme/old"}, Credential: Credential{Token: secret.Stored{Text: secret.New("ghp_old")}}, Since: since},
			{Scope: Scope{API: "https://api.github.com", Path: "acme/older"}, Credential: Credential{App: App{ClientID: "Iv23li", InstallationID: 7, PrivateKey: secret.Stored{Text: secret.New("PEM")}}}, Since: since},
		},
		Seen:     map[string]time.Time{"orphan 7": since},
		Setbacks: json.RawMessage(`{"quota":{"count":2}}`),
		Stopping: true,
	}
	must(t, dir.WriteState(want))

	got, err := dir.ReadState()
	must(t, err)
	want.Version, want.Generation = StateVersion, 1
	asJSON := cmp.Transformer("compact", func(raw json.RawMessage) string {
		data, err := compact(raw)
		must(t, err)
		return string(data)
	})
	if diff := cmp.Diff(want, got, asJSON); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	info, err := os.Stat(dir.Path(stateFile))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestGeneration(t *testing.T) {
	dir := open(t)
	steps := []struct {
		name    string
		applied string
		given   uint64
		want    uint64
	}{
		{"nothing applied yet", "", 0, 0},
		{"first", `{"a": 1}`, 0, 1},
		{"same, spaced otherwise", "{\n\"a\":1}", 1, 1},
		{"another", `{"a":2}`, 1, 2},
		{"stale count given", `{"a":3}`, 0, 3},
		{"larger count given, after a loss", `{"a":4}`, 9, 10},
	}
	for _, step := range steps {
		must(t, dir.WriteState(State{Applied: json.RawMessage(step.applied), Generation: step.given}))
		state, err := dir.ReadState()
		must(t, err)
		if state.Generation != step.want {
			t.Errorf("%s: generation %d, want %d", step.name, state.Generation, step.want)
		}
	}
	if err := dir.WriteState(State{Applied: json.RawMessage(`{"a":`)}); err == nil {
		t.Error("broken JSON was taken as applied")
	}
}

func TestCorruptStateIsSetAside(t *testing.T) {
	tests := map[string]string{
		"empty":          "",
		"cut off":        `{"version": 1, "build": "1.`,
		"an array":       `[]`,
		"null":           `null`,
		"no version":     `{"build": "1"}`,
		"bad version":    `{"version": -1}`,
		"wrong type":     `{"version": 1, "stopping": "yes"}`,
		"two objects":    `{"version": 1}{"version": 1}`,
		"zeros":          strings.Repeat("\x00", 4096),
		"huge":           strings.Repeat(" ", maxFile+1),
		"bad generation": `{"version": 1, "generation": -1}`,
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			dir := open(t)
			must(t, os.WriteFile(dir.Path(stateFile), []byte(content), 0o600))
			must(t, os.WriteFile(dir.Path(stateFile+".bad"), []byte("earlier"), 0o600))

			state, err := dir.ReadState()

			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("error %v, want a CorruptError", err)
			}
			if diff := cmp.Diff(State{}, state); diff != "" {
				t.Errorf("a corrupt file gave a state:\n%s", diff)
			}
			kept, err := os.ReadFile(corrupt.Kept)
			must(t, err)
			if string(kept) != content {
				t.Errorf("kept %d bytes, want the %d of the file", len(kept), len(content))
			}
			must(t, dir.WriteState(State{Build: "2"}))
			state, err = dir.ReadState()
			must(t, err)
			if state.Build != "2" {
				t.Errorf("the state does not work again: %+v", state)
			}
		})
	}
}

func TestOddFilesInPlaceOfTheState(t *testing.T) {
	tests := map[string]func(path string) error{
		"symbolic link": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder":        func(path string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) },
	}
	for name, place := range tests {
		t.Run(name, func(t *testing.T) {
			dir := open(t)
			must(t, place(dir.Path(stateFile)))
			_, err := dir.ReadState()
			var corrupt *CorruptError
			if !errors.As(err, &corrupt) {
				t.Fatalf("error %v, want a CorruptError", err)
			}
			must(t, dir.WriteState(State{Build: "2"}))
		})
	}
}

func TestNewerStateIsLeftAlone(t *testing.T) {
	dir := open(t)
	const content = `{"version": 2, "generation": "something else"}`
	must(t, os.WriteFile(dir.Path(stateFile), []byte(content), 0o600))
	if _, err := dir.ReadState(); !errors.Is(err, ErrNewer) {
		t.Errorf("ReadState: %v, want ErrNewer", err)
	}
	if err := dir.WriteState(State{Build: "1"}); !errors.Is(err, ErrNewer) {
		t.Errorf("WriteState: %v, want ErrNewer", err)
	}
	got, err := os.ReadFile(dir.Path(stateFile))
	must(t, err)
	if string(got) != content {
		t.Errorf("the file was changed to %q", got)
	}
}

func TestUnknownFieldsAreNoReasonToForget(t *testing.T) {
	dir := open(t)
	must(t, os.WriteFile(dir.Path(stateFile), []byte(`{"version": 1, "build": "1.1", "new-thing": {"a": 1}}`), 0o600))
	state, err := dir.ReadState()
	must(t, err)
	if state.Build != "1.1" {
		t.Errorf("state %+v", state)
	}
}

func TestFailedWriteLeavesTheOldState(t *testing.T) {
	dir := open(t)
	must(t, dir.WriteState(State{Build: "old"}))
	must(t, os.MkdirAll(dir.Path(stateFile+".tmp", "in the way"), 0o700))

	if err := dir.WriteState(State{Build: "new"}); err == nil {
		t.Fatal("no error although nothing could be written")
	}

	state, err := dir.ReadState()
	must(t, err)
	if state.Build != "old" {
		t.Errorf("state of build %q, want old", state.Build)
	}
}

func TestFullDiskLeavesTheOldState(t *testing.T) {
	if os.Geteuid() != 0 {
		skip.Because(t, "a disk of its own, to be filled, takes root")
	}
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
		skip.Because(t, "a disk of its own, to be filled: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(root, syscall.MNT_DETACH) })
	dir, err := Open(root, "github-runner-0-ab12")
	must(t, err)
	must(t, dir.WriteState(State{Build: "old"}))
	filler := strings.Repeat("x", 128<<10)

	err = dir.WriteState(State{Build: filler})

	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error %v, want that of a full disk", err)
	}
	state, err := dir.ReadState()
	must(t, err)
	if state.Build != "old" {
		t.Errorf("build %.20q, want old", state.Build)
	}
	if _, err := os.Lstat(dir.Path(stateFile + ".tmp")); !os.IsNotExist(err) {
		t.Errorf("the temporary file still fills the disk: %v", err)
	}
}

func TestCache(t *testing.T) {
	dir := open(t)
	cache := dir.Cache("etags.json")
	data, err := cache.Load()
	if data != nil || err != nil {
		t.Fatalf("an empty cache gave %q, %v", data, err)
	}
	must(t, cache.Save([]byte(`{}`)))
	data, err = cache.Load()
	must(t, err)
	if string(data) != `{}` {
		t.Errorf("loaded %q", data)
	}
	info, err := os.Stat(dir.Path("etags.json"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	err = cache.SetAside(errors.New("no ETag in it"))
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) {
		t.Fatalf("SetAside: %v, want a CorruptError", err)
	}
	if data, err := cache.Load(); data != nil || err != nil {
		t.Errorf("after SetAside: %q, %v", data, err)
	}
}

// state-1.json is what the first release wrote after a change of its path, while a
// runner was busy at the former one.
func TestStateOfTheFirstReleaseIsRead(t *testing.T) {
	first, err := os.ReadFile("testdata/state-1.json")
	must(t, err)
	dir := open(t)
	must(t, os.WriteFile(dir.Path(stateFile), first, 0o600))
	got, err := dir.ReadState()
	must(t, err)
	if got.Build != "0.1" || got.Generation != 2 || len(got.Seen) != 3 || got.Stopping {
		t.Errorf("read %+v", got)
	}
	if len(got.FormerScopes) != 1 || got.FormerScopes[0].Scope.Path != "acme/widgets" || got.FormerScopes[0].Token.Reveal() != "ghp_example" {
		t.Errorf("the former scopes are %+v", got.FormerScopes)
	}
	var applied struct{ Format string }
	must(t, json.Unmarshal(got.Applied, &applied))
	if applied.Format != "github-runner/charm-state/1" {
		t.Errorf("what was applied has the format %q", applied.Format)
	}
	must(t, dir.WriteState(got))
	again, err := dir.ReadState()
	must(t, err)
	if again.Generation != 2 || len(again.FormerScopes) != 1 {
		t.Errorf("written again, it is %+v", again)
	}
}

func TestLookAtStateMovesNothing(t *testing.T) {
	d := open(t)
	if _, err := d.LookAtState(); err == nil {
		t.Error("a state that is not there is no error")
	}
	must(t, d.WriteState(State{Build: "one"}))
	before, err := d.StateIdentity()
	must(t, err)
	if state, err := d.LookAtState(); err != nil || state.Build != "one" {
		t.Errorf("LookAtState = %+v, %v", state, err)
	}
	must(t, d.WriteState(State{Build: "two"}))
	after, err := d.StateIdentity()
	must(t, err)
	if before == after {
		t.Error("another state has the same identity")
	}
	must(t, os.WriteFile(d.Path(stateFile), []byte("{"), 0o600))
	if _, err := d.LookAtState(); err == nil {
		t.Error("a corrupt state is no error")
	}
	if _, err := os.Lstat(d.Path(stateFile)); err != nil {
		t.Errorf("the corrupt state was moved: %v", err)
	}
}
