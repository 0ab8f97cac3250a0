package juju

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
)

// answers is what the fake hook tools of a test do, by their names.
type answers map[string]answer

type answer struct {
	Stdout string
	Stderr string
	Exit   int
	// Flood prints so many bytes more, Hang never ends.
	Flood int
	Hang  bool
}

// toolScript is every fake hook tool: it notes its arguments, and does what the
// files beside it say.
const toolScript = `#!/bin/sh
dir=${0%/*} name=${0##*/}
{ printf '%s\0' "$name" "$@"; printf '\n\0'; } >> "$dir/calls"
cat > "$dir/$name.read"
cat "$dir/$name.stderr" >&2
cat "$dir/$name.stdout"
. "$dir/$name.end"
`

// fakeTools makes a folder of hook tools.
func fakeTools(t *testing.T, all answers) *Tools {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("script", toolScript, 0o700)
	for name, a := range all {
		if err := os.Symlink("script", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		write(name+".stdout", a.Stdout, 0o600)
		write(name+".stderr", a.Stderr, 0o600)
		end := fmt.Sprintf("exit %d\n", a.Exit)
		if a.Flood > 0 {
			end = fmt.Sprintf("head -c %d /dev/zero\n", a.Flood)
		}
		if a.Hang {
			end = "sleep 1000\n"
		}
		write(name+".end", end, 0o600)
	}
	return &Tools{Dir: dir}
}

// calls is how the tools were called, each with its name first.
func calls(t *testing.T, tools *Tools) [][]string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(tools.Dir, "calls"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for call := range strings.SplitSeq(strings.TrimSuffix(string(content), "\x00\n\x00"), "\x00\n\x00") {
		all = append(all, strings.Split(call, "\x00"))
	}
	return all
}

func wantCalls(t *testing.T, tools *Tools, want ...[]string) {
	t.Helper()
	if diff := cmp.Diff(want, calls(t, tools)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestToolsAnswers(t *testing.T) {
	ctx := t.Context()
	tests := []struct {
		name   string
		tool   string
		stdout string
		call   func(*Tools) (any, error)
		args   []string
		want   any
	}{{
		name:   "config",
		tool:   "config-get",
		stdout: `{"empty":"","flag":false,"flt":1.5,"num":3,"word":"hello","unset":null,"big":9007199254740993}`,
		call:   func(tools *Tools) (any, error) { return tools.Config(ctx) },
		args:   []string{"--format=json"},
		want:   map[string]any{"empty": "", "flag": false, "flt": 1.5, "num": int64(3), "word": "hello", "big": int64(9007199254740993)},
	}, {
		name:   "no config",
		tool:   "config-get",
		stdout: "null\n",
		call:   func(tools *Tools) (any, error) { return tools.Config(ctx) },
		args:   []string{"--format=json"},
		want:   map[string]any{},
	}, {
		name:   "status",
		tool:   "status-get",
		stdout: `{"message":"word=x","status":"active","status-data":{}}`,
		call: func(tools *Tools) (any, error) {
			status, message, err := tools.Status(ctx)
			return []string{string(status), message}, err
		},
		args: []string{"--format=json", "--include-data"},
		want: []string{"active", "word=x"},
	}, {
		name:   "relation ids",
		tool:   "relation-ids",
		stdout: `["ring:0"]`,
		call:   func(tools *Tools) (any, error) { return tools.RelationIDs(ctx, "ring") },
		args:   []string{"--format=json", "ring"},
		want:   []string{"ring:0"},
	}, {
		name:   "relation units",
		tool:   "relation-list",
		stdout: `["hk/0","hk/1"]`,
		call:   func(tools *Tools) (any, error) { return tools.RelationUnits(ctx, "back:1") },
		args:   []string{"--format=json", "-r", "back:1"},
		want:   []string{"hk/0", "hk/1"},
	}, {
		name:   "relation data of a unit",
		tool:   "relation-get",
		stdout: `{"ingress-address":"10.157.0.76","k":"v"}`,
		call:   func(tools *Tools) (any, error) { return tools.RelationUnitData(ctx, "back:1", "hk/0") },
		args:   []string{"--format=json", "-r", "back:1", "-", "hk/0"},
		want:   map[string]string{"ingress-address": "10.157.0.76", "k": "v"},
	}, {
		name:   "relation data of an application",
		tool:   "relation-get",
		stdout: `{"b":"2"}`,
		call:   func(tools *Tools) (any, error) { return tools.RelationAppData(ctx, "back:1", "hk") },
		args:   []string{"--format=json", "--app", "-r", "back:1", "-", "hk"},
		want:   map[string]string{"b": "2"},
	}, {
		name:   "storage ids",
		tool:   "storage-list",
		stdout: `["data/0"]`,
		call:   func(tools *Tools) (any, error) { return tools.StorageIDs(ctx, "data") },
		args:   []string{"--format=json", "data"},
		want:   []string{"data/0"},
	}, {
		name:   "a unit that goes",
		tool:   "goal-state",
		stdout: `{"units":{"probe/0":{"status":"dying","since":"2026-11-23 12:35:48Z"},"probe/1":{"status":"active","since":"2026-11-23 12:35:48Z"}},"relations":{}}`,
		call:   func(tools *Tools) (any, error) { return tools.Dying(ctx, "probe/0") },
		args:   []string{"--format=json"},
		want:   true,
	}, {
		name:   "a unit that stays",
		tool:   "goal-state",
		stdout: `{"units":{"probe/0":{"status":"active","since":"2026-11-23 12:35:48Z"}},"relations":{}}`,
		call:   func(tools *Tools) (any, error) { return tools.Dying(ctx, "probe/0") },
		args:   []string{"--format=json"},
		want:   false,
	}, {
		name:   "storage location",
		tool:   "storage-get",
		stdout: `{"kind":"filesystem","location":"/srv/probe-data"}`,
		call:   func(tools *Tools) (any, error) { return tools.StorageLocation(ctx, "data/0") },
		args:   []string{"--format=json", "-s", "data/0"},
		want:   "/srv/probe-data",
	}, {
		name:   "secret",
		tool:   "secret-get",
		stdout: `{"token":"s3cr3t","user":"bob"}`,
		call:   func(tools *Tools) (any, error) { return tools.Secret(ctx, "secret:abc") },
		args:   []string{"--format=json", "secret:abc", "--refresh"},
		want:   map[string]secret.Text{"token": secret.New("s3cr3t"), "user": secret.New("bob")},
	}, {
		name:   "action parameters",
		tool:   "action-get",
		stdout: `{"count":3,"tool":"abc","deep":{"list":[1,2.5]}}`,
		call:   func(tools *Tools) (any, error) { return tools.ActionParams(ctx) },
		args:   []string{"--format=json"},
		want:   map[string]any{"count": int64(3), "tool": "abc", "deep": map[string]any{"list": []any{int64(1), 2.5}}},
	}, {
		name:   "no action parameters",
		tool:   "action-get",
		stdout: `null`,
		call:   func(tools *Tools) (any, error) { return tools.ActionParams(ctx) },
		args:   []string{"--format=json"},
		want:   map[string]any{},
	}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tools := fakeTools(t, answers{test.tool: {Stdout: test.stdout}})
			got, err := test.call(tools)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
			wantCalls(t, tools, append([]string{test.tool}, test.args...))
		})
	}
}

func TestToolsRefusals(t *testing.T) {
	tests := []struct {
		name   string
		answer answer
		want   []string
	}{
		{"runtime error", answer{Stderr: "ERROR permission denied\n", Exit: 1}, []string{"config-get", "exit status 1", "ERROR permission denied"}},
		{"usage error", answer{Stderr: "ERROR unrecognized\nargs", Exit: 2}, []string{"config-get", "exit status 2", "ERROR unrecognized args"}},
		{"silent error", answer{Exit: 1}, []string{"config-get", "exit status 1"}},
		{"garbage", answer{Stdout: "<html>"}, []string{"understand", "config-get"}},
		{"empty", answer{}, []string{"understand", "config-get"}},
		{"cut", answer{Stdout: `{"a":`}, []string{"understand", "config-get"}},
		{"two values", answer{Stdout: `{} {}`}, []string{"understand", "config-get", "follows"}},
		{"wrong shape", answer{Stdout: `["a"]`}, []string{"understand", "config-get", "array"}},
		{"huge number", answer{Stdout: `{"n":1e999}`}, []string{`option "n"`, "1e999"}},
		{"flood", answer{Flood: 10 << 20}, []string{"config-get", "longer than"}},
		{"endless stderr", answer{Stderr: strings.Repeat("e", 1<<20), Exit: 1}, []string{"config-get", "exit status 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := fakeTools(t, answers{"config-get": test.answer}).Config(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if have := len(err.Error()); have > 5<<10 {
				t.Errorf("the error has %d bytes", have)
			}
		})
	}
}

func TestToolErrorTells(t *testing.T) {
	_, err := fakeTools(t, answers{"secret-get": {Stderr: "ERROR secret not found", Exit: 1}}).Secret(t.Context(), "secret:x")
	var refusal *ToolError
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a ToolError", err)
	}
	want := &ToolError{Tool: "secret-get", ExitCode: 1, Stderr: "ERROR secret not found"}
	if diff := cmp.Diff(want, refusal); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnusableAnswersAreTold(t *testing.T) {
	for _, a := range []answer{{Flood: maxOutput + 1}, {Stdout: `{"k":1}`}, {Stdout: `{"k":"v"} {}`}, {Stdout: "x"}} {
		_, err := fakeTools(t, answers{"relation-get": a}).RelationUnitData(t.Context(), "back:1", "hk/0")
		var unusable *AnswerError
		if !errors.As(err, &unusable) || !strings.Contains(err.Error(), "relation-get") {
			t.Errorf("%+v: got %v, want an AnswerError that names the tool", a, err)
		}
	}
}

func TestMissingTool(t *testing.T) {
	_, err := (&Tools{Dir: t.TempDir()}).Config(t.Context())
	if err == nil || !strings.Contains(err.Error(), "config-get") {
		t.Errorf("got %v, want an error that names the tool", err)
	}
}

func TestHangingToolIsGivenUp(t *testing.T) {
	tools := fakeTools(t, answers{"config-get": {Hang: true}})
	tools.Timeout = 100 * time.Millisecond
	_, err := tools.Config(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the deadline", err)
	}
	if !strings.Contains(err.Error(), "config-get") || !strings.Contains(err.Error(), "100ms") {
		t.Errorf("error %q does not name the tool and the time", err)
	}
}

func TestCancelledCallEnds(t *testing.T) {
	tools := fakeTools(t, answers{"config-get": {Hang: true}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tools.Config(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancellation", err)
	}
}

func TestSecretIsNotQuoted(t *testing.T) {
	for _, stdout := range []string{`"hunter2"`, `{"token":"hunter2"`, `{"token":["hunter2"]}`, `hunter2`} {
		_, err := fakeTools(t, answers{"secret-get": {Stdout: stdout}}).Secret(t.Context(), "secret:x")
		if err == nil {
			t.Errorf("%s: no error", stdout)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error quotes the secret: %v", stdout, err)
		}
	}
}

func TestSetStatus(t *testing.T) {
	tests := []struct {
		name, message, want string
	}{
		{"plain", "3 runners", "3 runners"},
		{"lines", "a\n\tb\r\nc\x00d\x1b[31m", "a b c d [31m"},
		{"dashes", "--help", "--help"},
		{"broken UTF-8", "a\xffb", "a\ufffdb"},
		{"empty", "", ""},
		{"long", strings.Repeat("ä", 300), strings.Repeat("ä", 198) + "…"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tools := fakeTools(t, answers{"status-set": {}})
			if err := tools.SetStatus(t.Context(), Blocked, test.message); err != nil {
				t.Fatal(err)
			}
			wantCalls(t, tools, []string{"status-set", "--", "blocked", test.want})
		})
	}
}

func TestSetApplicationVersion(t *testing.T) {
	tools := fakeTools(t, answers{"application-version-set": {}})
	if err := tools.SetApplicationVersion(t.Context(), "2.317.0\n"); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, tools, []string{"application-version-set", "--", "2.317.0"})
}

func TestRefusedSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		answer answer
		want   error
	}{
		"missing":   {answer{Stderr: `ERROR secret "d4q1rfvmp25c7a1h6k0g" not found`, Exit: 1}, ErrSecretMissing},
		"ungranted": {answer{Stderr: "ERROR permission denied", Exit: 1}, ErrSecretDenied},
		"away":      {answer{Stderr: "ERROR connection is shut down", Exit: 1}, nil},
		"a unit":    {answer{Stderr: `ERROR unit "a/0" not found`, Exit: 1}, nil},
		"usage":     {answer{Stderr: "ERROR secret not found", Exit: 2}, nil},
		"nonsense":  {answer{Stdout: "permission denied"}, nil},
	} {
		_, err := fakeTools(t, answers{"secret-get": test.answer}).Secret(t.Context(), "secret:x")
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		for _, kind := range []error{ErrSecretMissing, ErrSecretDenied} {
			if errors.Is(err, kind) != (kind == test.want) {
				t.Errorf("%s: got %v, want %v", name, err, test.want)
			}
		}
	}
}

// What is written into a relation is no argument, which others could see.
func TestRelationDataIsNoArgument(t *testing.T) {
	tools := fakeTools(t, answers{"relation-set": {}})
	err := tools.SetRelationData(t.Context(), "image:3", map[string]secret.Text{"password": secret.New("hunter2: \"'\n"), "username": {}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]string{{"relation-set", "-r", "image:3", "--file", "-"}}, calls(t, tools)); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	read, err := os.ReadFile(filepath.Join(tools.Dir, "relation-set.read"))
	if want := `{"password":"hunter2: \"'\n","username":""}`; err != nil || string(read) != want {
		t.Errorf("it reads %q, %v, want %q", read, err, want)
	}
	tools = fakeTools(t, answers{"relation-set": {Exit: 1, Stderr: "ERROR permission denied"}})
	var refusal *ToolError
	if err := tools.SetRelationData(t.Context(), "image:3", nil); !errors.As(err, &refusal) {
		t.Errorf("a refusal: %v", err)
	}
}
