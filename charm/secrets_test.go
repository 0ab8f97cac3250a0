package charm

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github-runner/charm/juju"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/charm/state"
)

const (
	tokenSecret = "secret:d4q1rfvmp25c7a1h6k0g"
	keySecret   = "secret:d4q1rfvmp25c7a1h6k1g"
)

// appKey is one key for all tests: making one takes a while.
var appKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
})

// withSecret gives the stage's token by a secret.
func withSecret(t *testing.T) *stage {
	s := newStage(t)
	s.config["token"], s.config["token-secret-id"] = "", tokenSecret
	s.keep(tokenSecret, "github-token", "ghp_one")
	return s
}

func (s *stage) keep(uri, field, value string) {
	if s.secrets == nil {
		s.secrets = map[string]map[string]secret.Text{}
	}
	s.secrets[uri] = map[string]secret.Text{field: secret.New(value)}
}

// machines are the names of those that are there.
func (s *stage) machines() string {
	var names []string
	for _, machine := range s.cloud.Truth() {
		names = append(names, machine.Name)
	}
	return fmt.Sprint(names)
}

func TestNewRevisionOfASecretIsUsedAtOnce(t *testing.T) {
	s := withSecret(t)
	s.hook("config-changed")
	before := s.machines()
	s.keep(tokenSecret, "github-token", "ghp_two")
	s.hook("secret-changed")
	if got := s.wanted.Credential.Token.Reveal(); got != "ghp_two" {
		t.Errorf("the token is %q", got)
	}
	if after := s.machines(); after != before {
		t.Errorf("a new token replaces runners: %s, then %s", before, after)
	}
	s.expectStatus(juju.Active, "2 runners: 2 idle")
}

func TestSecretThatCannotBeReadLosesNoRunner(t *testing.T) {
	for name, test := range map[string]struct {
		refusal error
		status  juju.Status
		message string
	}{
		"ungranted": {fmt.Errorf("cannot run: %w", juju.ErrSecretDenied), juju.Blocked, "token-secret-id " + tokenSecret + " is not granted to the application: run juju grant-secret " + tokenSecret + " github-runner"},
		"missing":   {juju.ErrSecretMissing, juju.Blocked, "token-secret-id " + tokenSecret + " does not exist"},
		"no answer": {errors.New("the controller is away"), juju.Waiting, "token-secret-id " + tokenSecret + " could not be read: the next hook tries again: the controller is away"},
	} {
		s := withSecret(t)
		s.refusal = test.refusal
		s.hook("install")
		s.hook("config-changed")
		s.expectStatus(test.status, test.message)
		s.expectMachines(0)
		s.refusal = nil
		s.hook("update-status")
		s.expectStatus(juju.Active, "2 runners: 2 idle")

		// The last state stays in force: a used runner is replaced.
		s.refusal = test.refusal
		if err := s.cloud.TakeJob(s.cloud.Truth()[0].Name); err != nil {
			t.Fatal(err)
		}
		s.hook("update-status")
		s.expectStatus(test.status, test.message)
		s.expectMachines(2)
		if got := s.wanted.Credential.Token.Reveal(); got != "ghp_one" {
			t.Errorf("%s: the token in force is %q", name, got)
		}
		s.hook("stop")
		s.expectNothingLeft()
	}
}

// Of a former path the App may be the only one that can remove registrations.
func TestAppOfAFormerPathIsKept(t *testing.T) {
	s := newStage(t)
	s.config["token"], s.config["github-app-client-id"], s.config["github-app-installation-id"] = nil, "Iv23liold", int64(7)
	s.config["github-app-private-key-secret-id"] = keySecret
	s.keep(keySecret, "private-key", appKey())
	s.hook("config-changed")
	app := s.wanted.Credential
	if app.App.PrivateKey.Reveal() != appKey() || app.App.InstallationID != 7 {
		t.Fatalf("the credential is %+v", app)
	}
	if err := s.cloud.TakeJob(s.cloud.Truth()[0].Name); err != nil {
		t.Fatal(err)
	}
	for option := range s.config {
		if strings.HasPrefix(option, "github-app-") {
			delete(s.config, option)
		}
	}
	s.config["path"], s.config["token"] = "acme/other", "ghp_other"
	s.hook("config-changed")
	s.hook("update-status")
	former := s.formerly[runner.Scope{API: "https://api.github.com", Path: "acme/widgets"}]
	if former != (state.Credential{App: state.App{ClientID: "Iv23liold", InstallationID: 7, PrivateKey: former.App.PrivateKey}}) || former.App.PrivateKey.Reveal() != appKey() {
		t.Errorf("the former credential is %+v", former)
	}
	files, err := filepath.Glob(filepath.Join(s.root, "var/lib/github-runner/*/*"))
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().IsRegular() && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", file, info.Mode(), err)
		}
	}
}

func TestTokenAndAppExcludeEachOther(t *testing.T) {
	s := newStage(t)
	s.hook("config-changed")
	s.config["github-app-client-id"] = "Iv23liold"
	s.hook("config-changed")
	s.expectStatus(juju.Blocked, "token, github-app-client-id exclude each other")
	s.expectMachines(2)
}
