package guests

import (
	"testing"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
)

func TestWrittenFile(t *testing.T) {
	tests := map[string]struct{ document, want string }{
		"plain":          {"#cloud-config\nwrite_files:\n- path: /a\n  content: x\n- path: /j\n  content: blob\n", "blob"},
		"base64":         {"#cloud-config\nwrite_files:\n- {path: /j, encoding: b64, content: YmxvYg==}\n", "blob"},
		"bad base64":     {"#cloud-config\nwrite_files:\n- {path: /j, encoding: b64, content: '%%%'}\n", ""},
		"compressed":     {"#cloud-config\nwrite_files:\n- {path: /j, encoding: gz+b64, content: H4sIAAAAAAACA0vKyU8CAMylf7AEAAAA}\n", "blob"},
		"bad gzip":       {"#cloud-config\nwrite_files:\n- {path: /j, encoding: gz+b64, content: YmxvYg==}\n", ""},
		"cut off":        {"#cloud-config\nwrite_files:\n- {path: /j, encoding: gz+b64, content: H4sIAAAAAAACA0vK}\n", ""},
		"no such file":   {"#cloud-config\nwrite_files: []\n", ""},
		"a script":       {"#!/bin/sh\necho\n", ""},
		"not yaml":       {"#cloud-config\n\t{{{", ""},
		"wrong types":    {"#cloud-config\nwrite_files: 7\n", ""},
		"nothing at all": {"", ""},
	}
	for name, test := range tests {
		if got := WrittenFile(test.document, "/j"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestPowerOffDelay(t *testing.T) {
	for _, delay := range []time.Duration{0, 10 * time.Minute} {
		data, err := cloudinit.UserData(cloudinit.Machine{Name: "runner", PowerOffDelay: delay})
		if err != nil {
			t.Fatal(err)
		}
		if got := PowerOffDelay(string(data)); got != delay {
			t.Errorf("a runner that is to stay up for %v does so for %v", delay, got)
		}
	}
	if got := PowerOffDelay("#!/bin/sh\nsystemd-run --on-active=5 systemctl poweroff\n"); got != 0 {
		t.Errorf("somebody's script has a delay of %v", got)
	}
}

func TestMachinesForImagesThatSpeakOnTheirConsole(t *testing.T) {
	for _, mounted := range []bool{true, false} {
		recipe := image.Recipe{ExchangeMounted: mounted}
		for _, render := range []func() ([]byte, error){recipe.UserData, recipe.TrialUserData} {
			data, err := render()
			if err != nil {
				t.Fatal(err)
			}
			if got := SpeaksOnConsole(string(data)); got == mounted {
				t.Errorf("with a mounted folder (%v) it speaks on its console: %v", mounted, got)
			}
		}
	}
}
