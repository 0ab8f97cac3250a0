package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestHelpOfACommand needs no lab, and runs nothing.
func TestHelpOfACommand(t *testing.T) {
	tests := map[string]string{
		"":       "Usage: lab [--dir DIR] COMMAND",
		"juju":   "remove-application APP",
		"cloud":  "edit-profile",
		"github": "Queue",
		"down":   "Usage of lab down",
	}
	for name, want := range tests {
		var out bytes.Buffer
		err := dispatch(t.Context(), environment{Stdout: &out, Stderr: &out}, append([]string{"--dir", t.TempDir(), "help"}, strings.Fields(name)...))
		if err != nil && err != exitStatus(0) {
			t.Errorf("lab help %s: %v", name, err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("lab help %s does not say %q:\n%s", name, want, &out)
		}
	}
}
