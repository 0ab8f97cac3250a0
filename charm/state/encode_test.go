package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github-runner/charm/secret"
)

func mustEncode(t testing.TB, s CharmState) []byte {
	t.Helper()
	encoded, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestRoundTrip(t *testing.T) {
	warned := fullSource()
	warned.DebugSSH["tmate/2"] = debugData("nowhere", "22")
	cloudy := sourceWith(onOpenStack(map[string]any{
		"manager-ssh-proxy-command": "nc gate %p", "manager-address": "192.0.2.7",
		"repo-policy-compliance-url": "http://policy", "repo-policy-compliance-token": "t0ken",
	}))
	for _, source := range []Source{sourceWith(nil), fullSource(), warned, cloudy} {
		s := mustNew(t, source)
		decoded, err := Decode(mustEncode(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if diff := diffStates(s, decoded); diff != "" {
			t.Errorf("the state changes by being stored (-before +after):\n%s", diff)
		}
		if decoded.Credential.Token.Reveal() != s.Credential.Token.Reveal() {
			t.Error("the token is not stored")
		}
		if again := mustEncode(t, decoded); !bytes.Equal(again, mustEncode(t, s)) {
			t.Error("the same state is written in two ways")
		}
	}
}

func TestStateDoesNotPrintItsSecrets(t *testing.T) {
	source := sourceWith(onOpenStack(map[string]any{"token": "ghp_hunter2"}))
	source.Proxies = Proxies{HTTP: secret.New("http://user:hunter2@proxy"), HTTPS: secret.New("http://user:hunter2@proxy")}
	s := mustNew(t, source)
	marshalled, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", s, s, s), string(marshalled)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the state prints its token or proxies: %s", text)
		}
	}
}

func TestEncodeRefusesWhatNewDoesNotMake(t *testing.T) {
	if _, err := Encode(CharmState{}); err == nil {
		t.Error("Encode takes an empty state")
	}
}

func TestDecodeRefusesADocumentThatIsCutOff(t *testing.T) {
	encoded := mustEncode(t, mustNew(t, fullSource()))
	for length := range encoded {
		if _, err := Decode(encoded[:length]); err == nil {
			t.Fatalf("Decode takes the first %d of %d bytes", length, len(encoded))
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	tests := []struct {
		field string
		value any
	}{
		{"format", "github-runner/charm-state/2"},
		{"model-uuid", "x"},
		{"unit", "../../etc/0"},
		{"scope", map[string]any{"api": "file:///etc", "path": "acme"}},
		{"scope", map[string]any{"api": "https://api.github.com", "path": "../x"}},
		{"github-url", ""},
		{"token", ""},
		{"token", "a\nb"},
		{"group", ""},
		{"labels", nil},
		{"labels", []string{"a,b"}},
		{"labels", []int{1}},
		{"count", -1},
		{"count", 1.5},
		{"count", "1"},
		{"reconcile-seconds", 0},
		{"reconcile-seconds", 1 << 60},
		{"reconcile-seconds", -1 << 60},
		{"base-image", "22.04"},
		{"image-source", map[string]any{"server": "ftp://example.com", "alias": "noble"}},
		{"image-source", map[string]any{"server": "https://example.com"}},
		{"image-seconds", -1},
		{"image-seconds", 1 << 40},
		{"image-packages", []string{"-y"}},
		{"image-script", "reboot"},
		{"image-relation", map[string]any{"integrated": true, "id": "a b"}},
		{"image-relation", map[string]any{"integrated": true, "id": "a", "refused": true}},
		{"image-relation", map[string]any{"integrated": true, "application": "a\nb"}},
		{"image-relation", map[string]any{"id": "a"}},
		{"instance-type", "jail"},
		{"cpu", 0},
		{"memory-bytes", -1},
		{"disk-bytes", 0},
		{"storage", ""},
		{"arch", "x64"},
		{"denylist", []string{"10.0.0.5/8"}},
		{"denylist", []string{""}},
		{"dockerhub-mirror", "http://mirror"},
		{"http-proxy", "proxy:3128"},
		{"no-proxy", "a\nb"},
		{"aproxy-exclude", []map[string]any{{"from": "10.0.0.2", "to": "10.0.0.1"}}},
		{"aproxy-exclude", []map[string]any{{"from": "fd00::1", "to": "fd00::2"}}},
		{"aproxy-exclude", []map[string]any{{"from": "10.0.0.1"}}},
		{"aproxy-exclude", []map[string]any{{"from": "10.0.0.1", "to": "10.0.0.9"}, {"from": "10.0.0.5", "to": "10.0.0.20"}}},
		{"aproxy-ports", []map[string]any{{"from": 2, "to": 1}}},
		{"aproxy-ports", []map[string]any{{"from": 443, "to": 443}, {"from": 80, "to": 80}}},
		{"aproxy-ports", []map[string]any{{"from": 1, "to": 65536}}},
		{"debug-hosts", []map[string]any{{"host": "192.0.2.1", "port": 0, "rsa-fingerprint": "SHA256:a", "ed25519-fingerprint": "SHA256:a"}}},
		{"debug-hosts", []map[string]any{{"host": "", "port": 1, "rsa-fingerprint": "SHA256:a", "ed25519-fingerprint": "SHA256:a"}}},
		{"debug-hosts", []map[string]any{{"host": "192.0.2.1", "port": 1, "rsa-fingerprint": "'", "ed25519-fingerprint": "SHA256:a"}}},
	}
	encoded := mustEncode(t, mustNew(t, fullSource()))
	for _, test := range tests {
		var fields map[string]any
		if err := json.Unmarshal(encoded, &fields); err != nil {
			t.Fatal(err)
		}
		fields[test.field] = test.value
		damaged, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(damaged); err == nil {
			t.Errorf("Decode takes %s = %v", test.field, test.value)
		}
	}
	if _, err := Decode(append(encoded, encoded...)); err == nil {
		t.Error("Decode takes two documents")
	}
	if _, err := Decode(bytes.Repeat([]byte(" "), maxDocument+1)); err == nil {
		t.Error("Decode takes a document without end")
	}
}

func FuzzNew(f *testing.F) {
	full, err := json.Marshal(fullSource().Config)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full, "http://proxy:3128", "localhost", "x86_64", "github-runner/0", "192.0.2.1", "SHA256:ab")
	for _, test := range badValues {
		config, err := json.Marshal(map[string]any{"path": "acme", "token": "x", test.option: test.value})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(config, "", "", "arm64", "a/1", "2001:db8::1", "")
	}
	for _, value := range hostileValues {
		config, err := json.Marshal(map[string]any{"path": "acme", "token": "x", "openstack-clouds-yaml": "clouds: {a: {b: " + value + "}}"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(config, value, value, value, value, value, value)
	}
	f.Fuzz(func(t *testing.T, document []byte, proxy, noProxy, machine, unit, host, fingerprint string) {
		var config map[string]any
		if err := json.Unmarshal(document, &config); err != nil {
			config = map[string]any{"path": "acme", "token": string(document), "labels": string(document), "denylist": string(document), "group": string(document)}
		}
		checkNew(t, Source{
			Config:    config,
			Proxies:   Proxies{HTTP: secret.New(proxy), HTTPS: secret.New(proxy), NoProxy: noProxy},
			Machine:   machine,
			ModelUUID: testModel,
			Unit:      unit,
			DebugSSH:  map[string]map[string]string{unit: {"host": host, "port": "22", "rsa_fingerprint": fingerprint, "ed25519_fingerprint": fingerprint}},
			Image:     map[string]map[string]string{unit: {"id": host, "tags": noProxy}},
		})
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(mustEncode(f, mustNew(f, sourceWith(nil))))
	f.Add(mustEncode(f, mustNew(f, fullSource())))
	f.Add(mustEncode(f, mustNew(f, sourceWith(onOpenStack(nil)))))
	f.Add([]byte(`{"format":"` + format + `"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		s, err := Decode(document)
		if err != nil {
			return
		}
		again, err := Decode(mustEncode(t, s))
		if err != nil {
			t.Fatalf("Decode refuses what it took before: %v", err)
		}
		if diff := diffStates(s, again); diff != "" {
			t.Errorf("the state changes by being stored:\n%s", diff)
		}
	})
}

// A refresh may come from the first release, and go back from a later one.
func TestDecodeReadsOtherBuilds(t *testing.T) {
	first, err := os.ReadFile("testdata/state-1.json")
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(first, &fields); err != nil {
		t.Fatal(err)
	}
	fields["of-a-later-build"] = map[string]any{"any": 1}
	later, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	for name, document := range map[string][]byte{"the first release": first, "a later build": later} {
		s, err := Decode(document)
		if err != nil {
			t.Errorf("the state of %s: %v", name, err)
			continue
		}
		if s.Scope.Path != "acme/gadgets" || s.Credential.Token.Reveal() != "ghp_example" || s.Count != 2 || len(s.Denylist) != 2 || len(s.Labels) != 7 {
			t.Errorf("the state of %s reads as %+v", name, s)
		}
	}
}
