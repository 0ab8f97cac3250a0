package acceptance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github-runner/lab/skip"
)

const (
	// waitDeadline is how long a command is repeated. It may be long: what comes, comes
	// before, and what does not come fails anyhow.
	waitDeadline = 60 * time.Second
	// The pauses between two tries grow from one to the other: each try starts
	// processes, and those of several sessions would keep a processor busy.
	shortestPause = 100 * time.Millisecond
	longestPause  = 500 * time.Millisecond
)

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"lab":            program("lab"),
		"juju":           program("juju"),
		"wait-until":     waitUntil,
		"same":           same,
		"distinct":       distinct,
		"took":           took,
		"needs-root":     needsRoot,
		"story":          story,
		"policy-service": policyCommand,
	}
}

// program runs a program as exec does, but not for ever.
func program(name string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		err := execute(ts, append([]string{name}, args...))
		switch {
		case err != nil && !neg:
			ts.Fatalf("%v\n%s%s", err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		case err == nil && neg:
			ts.Fatalf("unexpected success\n%s", ts.ReadFile("stdout"))
		}
	}
}

// testKey is where a session's test is.
type testKey struct{}

// needsRoot leaves a session out where this process can't do what it is about.
func needsRoot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: needs-root WHY")
	}
	if os.Geteuid() != 0 {
		skip.Because(ts.Value(testKey{}).(testing.TB), "%s", strings.Join(args, " "))
	}
}

// clock keeps how long the last command of a session took.
type clock struct {
	last time.Duration
}

type clockKey struct{}

func execute(ts *testscript.TestScript, args []string) error {
	seconds := strconv.Itoa(int(commandDeadline.Seconds()))
	start := time.Now()
	err := ts.Exec("timeout", append([]string{"--kill-after=10", seconds}, args...)...)
	ts.Value(clockKey{}).(*clock).last = time.Since(start)
	return err
}

// took fails unless the last command took that long.
func took(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: took DURATION")
	}
	least, err := time.ParseDuration(args[0])
	ts.Check(err)
	last := ts.Value(clockKey{}).(*clock).last
	if (last >= least) == neg {
		ts.Fatalf("the last command took %v", last)
	}
}

// waitUntil repeats a command until its output matches. A command that fails
// matches nothing. Only the last output is kept. A try that has begun may end: some
// run a hook, which waits for the new runners that it has made.
func waitUntil(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: wait-until REGEXP COMMAND…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.After(waitDeadline)
	for pause := shortestPause; ; pause = min(pause*3/2, longestPause) {
		out, err := poll(ts, args[1:])
		match := pattern.FindStringSubmatch(out)
		if err == nil && (match != nil) != neg {
			fmt.Fprint(ts.Stdout(), out)
			setGroups(ts, pattern, match)
			return
		}
		select {
		case <-time.After(pause):
		case <-deadline:
			ts.Fatalf("waited for %v in vain; last came (error: %v)\n%s", waitDeadline, err, out)
		}
	}
}

// poll runs a command in the session's environment without a word in its log.
func poll(ts *testscript.TestScript, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandDeadline)
	defer cancel()
	// env finds the program by the session's PATH.
	cmd := exec.CommandContext(ctx, "env", args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "WORK", "ROOT", "LAB_DIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}

func setGroups(ts *testscript.TestScript, pattern *regexp.Regexp, match []string) {
	for i, name := range pattern.SubexpNames() {
		if name != "" && i < len(match) {
			ts.Setenv(name, match[i])
		}
	}
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same A B")
	}
	if (args[0] == args[1]) == neg {
		ts.Fatalf("%q and %q, which is wrong", args[0], args[1])
	}
}

// distinct counts different matches in the last output.
func distinct(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: distinct COUNT REGEXP")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	found := map[string]bool{}
	for _, match := range pattern.FindAllString(ts.ReadFile("stdout"), -1) {
		found[match] = true
	}
	if len(found) != want {
		ts.Fatalf("%d different matches, want %d: %v", len(found), want, found)
	}
}
