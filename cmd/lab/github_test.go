package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github-runner/lab/github"
)

// startGitHub runs "serve-github" as the lab does and returns what runs the
// commands beside it.
func startGitHub(t *testing.T) func(stdin string, args ...string) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- cmdServeGitHub(ctx, environment{Stdout: signalling{ready}, Stderr: &bytes.Buffer{}}, []string{"--dir", dir})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve-github ends with %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "github.sock")); err == nil {
			t.Error("the socket is left behind")
		}
	})
	return func(stdin string, args ...string) (string, error) {
		var out bytes.Buffer
		env := environment{Dir: dir, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &bytes.Buffer{}}
		err := cmdGitHub(ctx, env, args)
		return out.String(), err
	}
}

// signalling closes a channel when the process says that it is ready.
type signalling struct {
	ready chan struct{}
}

func (s signalling) Write(p []byte) (int, error) {
	if string(p) == "ready\n" {
		close(s.ready)
	}
	return len(p), nil
}

func TestGitHubCommands(t *testing.T) {
	lab := startGitHub(t)
	key := filepath.Join(t.TempDir(), "app.pem")
	for _, step := range []struct {
		stdin string
		args  string
		want  string // a regular expression
	}{
		{"", "jobs", `^JOB +RUN +NAME .*\n$`},
		{"echo hi", "job --count 2 --event push --labels a,b --repo acme/widgets --script -", `(?s)acme/widgets +push +queued.*acme/widgets`},
		{"", "jobs --format json", `"labels": \[\n +"a",\n +"b"\n`},
		{"", "wait --jobs queued --count 2 --online 0 --timeout 5s", `^$`},
		{"", "end", `(?s)completed +cancelled.*completed +cancelled`},
		{"", "wait --jobs completed", `^$`},
		{"", "runners", `^ID +NAME +SCOPE +STATUS +BUSY +LABELS\n$`},
		{"", "runners --format json", `^\[\]\n$`},
		{"", "calls", `^ENDPOINT +CALLS +304 +REFUSED\n$`},
		{"", "calls --reset", `^$`},
		{"", "group add acme fast", `^$`},
		{"", "group remove acme fast", `^$`},
		{"", "app add --account acme --key KEY", `^CLIENT-ID +INSTALLATION-ID +ACCOUNT +SUSPENDED\nIv23li[0-9a-f]{14} +[0-9]+ +acme +false\n$`},
		{"", "app list --format json", `"client_id": "Iv23li[0-9a-f]{14}",\n +"installation_id": [0-9]+,\n +"account": "acme"\n`},
		{"", "app add --key -", `^-----BEGIN RSA PRIVATE KEY-----\n`},
		{"", "fault add status --on register --status 503 --nth 2", `status +register +0 +1 +status 503`},
		{"", "fault add kill-after --on delete", `kill-after +delete +0 +1`},
		{"", "fault add delay --delay 3s --for 1m", `delay +- +0 +all +delay 3s, for 1m0s`},
		{"", "fault list", `(?s)status.*kill-after.*delay`},
		{"", "fault clear", `^$`},
		{"", "fault list --format json", `^\[\]\n$`},
	} {
		out, err := lab(step.stdin, strings.Fields(strings.ReplaceAll(step.args, "KEY", key))...)
		if err != nil || !regexp.MustCompile(step.want).MatchString(out) {
			t.Errorf("lab github %s: %v, prints\n%s\nwant %s", step.args, err, out, step.want)
		}
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the App's private key is kept as %v (%v), want a file for its owner alone", info, err)
	}
	var jobs []github.JobInfo
	out, err := lab("", "jobs", "--format", "json")
	if err != nil || json.Unmarshal([]byte(out), &jobs) != nil || len(jobs) != 2 {
		t.Errorf("jobs as JSON: %v\n%s", err, out)
	}
}

func TestGitHubCommandsRefuse(t *testing.T) {
	lab := startGitHub(t)
	for _, args := range []string{
		"", "nonsense", "job extra", "job --count x", "jobs --format xml", "jobs extra", "end x",
		"group", "group rename a b", "fault", "fault break", "fault add", "fault add status extra", "fault clear x", "fault clear 0",
		"app", "app add", "app list x", "app suspend", "app rename a",
		"wait --online many",
	} {
		_, err := lab("", strings.Fields(args)...)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("lab github %s: %v, want a mistake in the command line", args, err)
		}
	}
	for _, args := range []string{
		"job --count -1", "job --repo acme", "job --script /nowhere", "fault add meteor", "fault add status", "group add a/b c", "group remove acme none",
		"app suspend none", "app resume none", "app expire none", "app add --key /nowhere/key",
		"wait --online 1 --timeout 1ms",
	} {
		_, err := lab("", strings.Fields(args)...)
		var usage usageError
		if err == nil || errors.As(err, &usage) {
			t.Errorf("lab github %s: %v, want a refusal", args, err)
		}
	}
}
