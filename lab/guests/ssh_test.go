package guests

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github-runner/charm/cloudinit"
	"github-runner/charm/guest"
)

func TestMachinesWithoutAnSSHServer(t *testing.T) {
	keys, err := guest.LoadKeys(filepath.Join(t.TempDir(), "guest-secret"))
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := keys.HostKey("runner-1")
	if err != nil {
		t.Fatal(err)
	}
	data, err := cloudinit.UserData(cloudinit.Machine{
		Name: "runner-1", SSH: &cloudinit.SSH{AuthorizedKey: keys.AuthorizedKey(), HostKey: private, HostPublicKey: public},
	})
	if err != nil {
		t.Fatal(err)
	}
	full := string(data)
	for name, test := range map[string]struct {
		userData string
		want     bool
	}{
		"with keys":           {full, true},
		"without the module":  {strings.Replace(full, "  - ssh\n", "", 1), false},
		"without a host key":  {strings.Replace(full, "ssh_keys:", "other_keys:", 1), false},
		"with a bad host key": {strings.Replace(full, "OPENSSH", "SECRET", 1), false},
		"a script":            {"#!/bin/sh\n", false},
		"no document":         {"#cloud-config\n\t{{{", false},
	} {
		if got := NewSSHServer(test.userData, nil) != nil; got != test.want {
			t.Errorf("a machine %s has an SSH server: %v", name, got)
		}
	}
}

func TestArgumentsOf(t *testing.T) {
	for command, want := range map[string][]string{
		"sh -c 'run it' 'sh'":                 nil,
		"sh -c 'run it' 'sh' 'a' 'b c'":       {"a", "b c"},
		`sh -c 'run it' 'sh' 'it'\''s' ''`:    {"it's", ""},
		"sh -c 'run it' 'sh' '$(a)`b`\n;\\'":  {"$(a)`b`\n;\\"},
		"sh -c 'run it' 'sh' 'a'; reboot":     {"no"},
		"sh -c 'run it' 'sh' a":               {"no"},
		"sh -c 'run it' 'sh' 'a":              {"no"},
		"sh -c 'run it' 'sh' 'a''b'":          {"no"},
		"sh -c 'run another' 'sh'":            {"no"},
		" sh -c 'run it' 'sh'":                {"no"},
		"sh -c 'run it' 'sh' 'a' && 'reboot'": {"no"},
	} {
		got, ok := argumentsOf("run it", command)
		if refused := slices.Equal(want, []string{"no"}); ok == refused || ok && !slices.Equal(got, want) {
			t.Errorf("the arguments of %s are %q, %v; want %q", command, got, ok, want)
		}
	}
}
