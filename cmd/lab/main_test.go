package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

func TestCommandsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands() {
		if seen[c.name] {
			t.Errorf("the command %q is in the table twice", c.name)
		}
		seen[c.name] = true
		if (c.summary == "") != c.hidden {
			t.Errorf("the command %q: its summary is %q, hidden is %t", c.name, c.summary, c.hidden)
		}
	}
}

func TestDispatch(t *testing.T) {
	var out bytes.Buffer
	env := environment{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
	for _, args := range [][]string{nil, {"help"}, {"--dir", "/nowhere", "--help"}} {
		out.Reset()
		if err := dispatch(context.Background(), env, args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if !strings.Contains(out.String(), "leftovers") || strings.Contains(out.String(), "serve-") {
			t.Errorf("%q prints %q, want every command but the hidden ones", args, out.String())
		}
	}

	var usage usageError
	for _, args := range [][]string{{"dwon"}, {"up", "now"}, {"up", "--clod", "lxd"}, {"--dir"}} {
		if err := dispatch(context.Background(), env, args); !errors.As(err, &usage) {
			t.Errorf("%q: error %v, want one on usage", args, err)
		}
	}
}

func TestDownWithoutALab(t *testing.T) {
	var out bytes.Buffer
	env := environment{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
	if err := dispatch(context.Background(), env, []string{"--dir", t.TempDir(), "down"}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "nothing to remove") {
		t.Errorf("it says %q", out.String())
	}
}
