package state

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Each test here is named for something that the charm's predecessor did wrong.

func TestDefectGroupWasNeverLookedAt(t *testing.T) {
	org := map[string]any{"path": "acme", "group": "gpu machines"}
	if s := mustNew(t, sourceWith(org)); s.Group != "gpu machines" {
		t.Errorf("an organisation's group is %q", s.Group)
	}
	if s := mustNew(t, sourceWith(map[string]any{"path": "acme"})); s.Group != "default" {
		t.Errorf("an unset group is %q", s.Group)
	}
	// A repository has no group: setting one must not look like a change.
	if s := mustNew(t, sourceWith(map[string]any{"group": "gpu machines"})); s.Group != "" {
		t.Errorf("a repository's group is %q", s.Group)
	}
	org["group"] = `"; rm -rf /` + "\n"
	if s := mustNew(t, sourceWith(org)); s.Group != `"; rm -rf /` {
		t.Errorf("an unusual name of a group is %q", s.Group)
	}
}

func TestDefectUnusualLabelsWereRefused(t *testing.T) {
	const labels = "ubuntu-22.04,c++,node:18,team/a,me@work,a=b,v1.2.3~rc,#1,größe,Ümlaut"
	s := mustNew(t, sourceWith(map[string]any{"labels": labels}))
	for label := range strings.SplitSeq(strings.ToLower(labels), ",") {
		if !slices.Contains(s.Labels, label) {
			t.Errorf("label %q is not among %q", label, s.Labels)
		}
	}
}

func TestDefectLabelsWereNotRegistered(t *testing.T) {
	s := mustNew(t, sourceWith(map[string]any{"labels": "X64,SELF-HOSTED,Jammy,mine,MINE"}))
	want := []string{"self-hosted", "linux", "x64", "github-runner", "jammy", "mine"}
	if !slices.Equal(s.Labels, want) {
		t.Errorf("the labels are %q, want %q", s.Labels, want)
	}
}

func TestDefectAMD64WasNoArchitecture(t *testing.T) {
	for machine, want := range map[string]Arch{"x86_64": AMD64, "amd64": AMD64, "aarch64": ARM64, "arm64": ARM64} {
		source := sourceWith(nil)
		source.Machine = machine
		if s := mustNew(t, source); s.Arch != want || s.Labels[2] != want.Label() {
			t.Errorf("machine %s has architecture %q and labels %q", machine, s.Arch, s.Labels)
		}
	}
	if AMD64.Label() != "x64" || ARM64.Label() != "arm64" {
		t.Errorf("GitHub's names are %q and %q", AMD64.Label(), ARM64.Label())
	}
}

func TestDefectIPv6DebugHostCrashed(t *testing.T) {
	source := sourceWith(nil)
	source.DebugSSH = map[string]map[string]string{"tmate/0": debugData("2001:db8::22", "22"), "tmate/1": debugData("::ffff:192.0.2.1", "22")}
	s := mustNew(t, source)
	if len(s.DebugHosts) != 2 || s.DebugHosts[0].Host.String() != "192.0.2.1" || s.DebugHosts[1].Host.String() != "2001:db8::22" {
		t.Errorf("the debug hosts are %v", s.DebugHosts)
	}
}

func TestDefectOneBadDebugHostBlockedAll(t *testing.T) {
	bad := func(key, value string) map[string]string {
		data := debugData("192.0.2.9", "22")
		data[key] = value
		return data
	}
	source := sourceWith(nil)
	source.DebugSSH = map[string]map[string]string{
		"good/0": debugData("192.0.2.1", "22"),
		"bad/0":  bad("host", "tmate.example.com"),
		"bad/1":  bad("host", "fe80::1%eth0"),
		"bad/2":  bad("port", "0"),
		"bad/6":  bad("host", "127.0.0.1"),
		"bad/7":  bad("host", "::ffff:169.254.169.254"),
		"bad/8":  bad("host", "::ffff:0.0.0.0"),
		"bad/9":  bad("host", "ff02::1"),
		"bad/3":  bad("port", "65536"),
		// The pattern for fingerprints was written down and not enforced.
		"bad/4": bad("rsa_fingerprint", "MD5:aa:bb"),
		"bad/5": bad("ed25519_fingerprint", "SHA256:x\n$(reboot)"),
		"bad/A": bad("rsa_fingerprint", "SHA256:"+strings.Repeat("a", 67)),
		// These are only not ready.
		"late/0": {},
		"late/1": bad("port", ""),
		"late/2": nil,
	}
	s := mustNew(t, source)
	if len(s.DebugHosts) != 1 || s.DebugHosts[0].Host.String() != "192.0.2.1" {
		t.Errorf("the debug hosts are %v", s.DebugHosts)
	}
	if len(s.Warnings) != 11 {
		t.Errorf("%d warnings, want one for each bad unit: %q", len(s.Warnings), s.Warnings)
	}
	for _, warning := range s.Warnings {
		if !strings.Contains(warning, `unit "bad/`) || strings.Contains(warning, "\n") {
			t.Errorf("a warning is %q", warning)
		}
	}
}

func TestDefectNameLengthWasFoundOutByTheCloud(t *testing.T) {
	source := sourceWith(nil)
	source.Unit = strings.Repeat("a", 48) + "/0"
	mustNew(t, source)
	source.Unit = strings.Repeat("a", 49) + "/0"
	problems := problemsOf(t, source)
	if text := problems.Error(); len(problems) != 1 || !strings.Contains(text, "application name") || !strings.Contains(text, "shorter name") {
		t.Errorf("New: %s", text)
	}
}

func TestDefectCloudsOfTheWrongShapeCrashed(t *testing.T) {
	tests := []struct{ name, document, want string }{
		{"null", "clouds:", "has no clouds"},
		{"explicit null", "clouds: null", "has no clouds"},
		{"list", "clouds: [hunter2]", "has clouds that are not a mapping"},
		{"string", "clouds: hunter2", "has clouds that are not a mapping"},
		{"empty", "clouds: {}", "has no clouds"},
		{"missing", "client: {}", "has no clouds"},
		{"cloud is null", "clouds: {a: null}", "has a first cloud that is not a mapping"},
		{"cloud is text", "clouds: {a: hunter2}", "has a first cloud that is not a mapping"},
		{"top is a list", "- hunter2", "is not a mapping"},
		{"top is text", "hunter2", "is not a mapping"},
		{"keys are numbers", "1: {password: hunter2}", "has no clouds"},
		{"other section", "clouds: {a: {}}\nclient: hunter2", "has a first cloud without auth"},
		{"no YAML", "clouds: {password: hunter2", "is not valid YAML"},
		{"tabs", "clouds:\n\t- hunter2", "is not valid YAML"},
		{"unknown alias", "clouds: *hunter2", "is not valid YAML"},
		{"bomb", bomb(), "openstack-clouds-yaml"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			problems := problemsOf(t, sourceWith(map[string]any{"openstack-clouds-yaml": test.document}))
			text := problems.Error()
			if !strings.Contains(text, test.want) {
				t.Errorf("New: %s\nwant %s", text, test.want)
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("the problem quotes the document: %s", text)
			}
		})
	}
}

// bomb is a small document that names a huge one.
func bomb() string {
	document := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'k'; c++ {
		line := strings.Repeat("*"+string(c-1)+", ", 9)
		document += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(line, ", ") + "]\n"
	}
	return document
}

func TestDefectCorruptStateBlockedTheUnit(t *testing.T) {
	for _, document := range []string{"", "{", "null", "[]", "{}", `"x"`, `{"runner_config": {"base_image": "jammy"}}`} {
		if _, err := Decode([]byte(document)); err == nil {
			t.Errorf("Decode takes %q", document)
		}
	}
	// New never looks at a former state: nothing in it can block a unit.
	mustNew(t, sourceWith(nil))
}

func TestDefectTokenWasLoggedAndStoredOpenly(t *testing.T) {
	problems := problemsOf(t, sourceWith(map[string]any{"token": "ghp_hunter2 x", "path": "a b"}))
	if strings.Contains(problems.Error(), "hunter2") {
		t.Errorf("the problem shows the token: %s", problems)
	}
	_, err := Decode([]byte(`{"format":"` + format + `","token":"hunter2","count":"hunter2"}`))
	if err == nil || strings.Contains(err.Error(), "hunter2") || errors.Unwrap(err) == nil {
		t.Errorf("Decode: %v", err)
	}
}
