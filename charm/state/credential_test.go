package state

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
)

const (
	tokenSecretID = "secret:d4q1rfvmp25c7a1h6k0g"
	keySecretID   = "secret:d4q1rfvmp25c7a1h6k1g"
)

// testKey is one key for all tests: making one takes a while.
var testKey = sync.OnceValue(func() *rsa.PrivateKey { return rsaKey(2048) })

func rsaKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func pkcs1(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// appSource is a source with a GitHub App, and options changed.
func appSource(change map[string]any) Source {
	source := sourceWith(map[string]any{
		"token": "", "github-app-client-id": "Iv23li8oGqvfLbnMjE0V", "github-app-installation-id": int64(4711),
		"github-app-private-key-secret-id": keySecretID,
	})
	maps.Copy(source.Config, change)
	source.Secrets = map[string]Secret{keySecretID: read("private-key", pkcs1(testKey()))}
	return source
}

// tokenSource is a source whose token is in a secret.
func tokenSource(found Secret) Source {
	source := sourceWith(map[string]any{"token-secret-id": tokenSecretID})
	source.Secrets = map[string]Secret{tokenSecretID: found}
	return source
}

func read(field, value string) Secret {
	return Secret{Access: SecretRead, Content: map[string]secret.Text{field: secret.New(value)}}
}

func TestCredentials(t *testing.T) {
	key := strings.TrimSpace(pkcs1(testKey()))
	app := Credential{App: App{ClientID: "Iv23li8oGqvfLbnMjE0V", InstallationID: 4711, PrivateKey: secret.New(key)}}
	inPKCS8 := appSource(nil)
	inPKCS8.Secrets[keySecretID] = read("private-key", pkcs8(t, testKey()))
	for name, test := range map[string]struct {
		source Source
		want   Credential
	}{
		"a token":                    {sourceWith(nil), Credential{Token: secret.New("ghp_x")}},
		"a secret beside a token":    {tokenSource(read("github-token", " ghp_y\n")), Credential{Token: secret.New("ghp_y"), TokenBySecret: true}},
		"an App":                     {appSource(nil), app},
		"an App with a number":       {appSource(map[string]any{"github-app-client-id": json.Number("12345")}), Credential{}},
		"an App, options unset":      {appSource(map[string]any{"token": nil, "token-secret-id": nil}), app},
		"a key in PKCS #8":           {inPKCS8, Credential{App: App{ClientID: "Iv23li8oGqvfLbnMjE0V", InstallationID: 4711, PrivateKey: secret.New(strings.TrimSpace(pkcs8(t, testKey())))}}},
		"a token, App options reset": {sourceWith(map[string]any{"github-app-client-id": nil, "github-app-installation-id": nil}), Credential{Token: secret.New("ghp_x")}},
		"a token, App options empty": {sourceWith(map[string]any{"github-app-client-id": "", "github-app-installation-id": json.Number("0")}), Credential{Token: secret.New("ghp_x")}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want.IsZero() {
				problemsOf(t, test.source)
				return
			}
			s := mustNew(t, test.source)
			if diff := cmp.Diff(test.want, s.Credential); diff != "" {
				t.Errorf("the credential (-want +got):\n%s", diff)
			}
			decoded, err := Decode(mustEncode(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if diff := diffStates(s, decoded); diff != "" {
				t.Errorf("the state changes by being stored:\n%s", diff)
			}
		})
	}
}

func TestBadCredentials(t *testing.T) {
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := pkcs1(testKey())
	withKey := func(text string) Source {
		source := appSource(nil)
		source.Secrets[keySecretID] = read("private-key", text)
		return source
	}
	without := func(option string) Source { return appSource(map[string]any{option: nil}) }
	const badKey = `github-app-private-key-secret-id ` + keySecretID + ` has a private-key that is not valid: give the .pem file`
	for name, test := range map[string]struct {
		source Source
		want   string
	}{
		"nothing":              {sourceWith(map[string]any{"token": nil}), `token is missing: give a personal access token for GitHub, by token-secret-id or token, or a GitHub App`},
		"a token and an App":   {appSource(map[string]any{"token": "ghp_hunter2"}), `token, github-app-client-id, github-app-installation-id, github-app-private-key-secret-id exclude each other: reset token to use a GitHub App, or github-app-client-id,`},
		"a secret and an App":  {appSource(map[string]any{"token-secret-id": tokenSecretID}), `token-secret-id, github-app-client-id, `},
		"a token and a part":   {sourceWith(map[string]any{"github-app-installation-id": 1}), `token, github-app-installation-id exclude each other`},
		"no client":            {without("github-app-client-id"), `github-app-client-id is missing: a GitHub App needs github-app-client-id, github-app-installation-id and github-app-private-key-secret-id`},
		"no installation":      {without("github-app-installation-id"), `github-app-installation-id is missing`},
		"no key":               {without("github-app-private-key-secret-id"), `github-app-private-key-secret-id is missing`},
		"a long client":        {appSource(map[string]any{"github-app-client-id": strings.Repeat("a", 65)}), `github-app-client-id is not valid`},
		"a bad client":         {appSource(map[string]any{"github-app-client-id": "hunter2 x"}), `github-app-client-id is not valid: give the client ID`},
		"a bad installation":   {appSource(map[string]any{"github-app-installation-id": -4}), `github-app-installation-id "-4" is not valid: give the number at the end`},
		"a key in the option":  {appSource(map[string]any{"github-app-private-key-secret-id": "hunter2"}), `github-app-private-key-secret-id is not valid: give the id that juju add-secret printed`},
		"a token as an id":     {sourceWith(map[string]any{"token-secret-id": "ghp_hunter2"}), `token-secret-id is not valid: give the id that juju add-secret printed`},
		"no string as an id":   {sourceWith(map[string]any{"token-secret-id": 5.0}), `token-secret-id is not valid: it must be a string`},
		"a missing secret":     {tokenSource(Secret{Access: SecretMissing}), `token-secret-id ` + tokenSecretID + ` does not exist: run juju add-secret NAME github-token#file=FILE`},
		"an ungranted secret":  {tokenSource(Secret{Access: SecretDenied}), `token-secret-id ` + tokenSecretID + ` is not granted to the application: run juju grant-secret ` + tokenSecretID + ` github-runner`},
		"another field":        {tokenSource(read("token", "hunter2")), `token-secret-id ` + tokenSecretID + ` lacks the field github-token: run juju update-secret ` + tokenSecretID + ` github-token#file=FILE`},
		"an empty field":       {tokenSource(read("github-token", " \n")), `lacks the field github-token`},
		"a token of two lines": {tokenSource(read("github-token", "hunter2\nghp_x")), `has a github-token that is not valid: give a personal access token`},
		"an ungranted key":     {func() Source { s := appSource(nil); s.Secrets[keySecretID] = Secret{Access: SecretDenied}; return s }(), `github-app-private-key-secret-id ` + keySecretID + ` is not granted to the application: run juju grant-secret ` + keySecretID + ` github-runner`},
		"no PEM":               {withKey("hunter2"), badKey},
		"two keys":             {withKey(key + key), badKey},
		"half a key":           {withKey(key[:len(key)/2]), badKey},
		"an elliptic key":      {withKey(pkcs8(t, elliptic)), badKey},
		"a small key":          {withKey(pkcs1(rsaKey(1024))), badKey},
		"a public key":         {withKey(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&testKey().PublicKey)}))), badKey},
		"a damaged key":        {withKey(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("hunter2")}))), badKey},
	} {
		t.Run(name, func(t *testing.T) {
			problems := problemsOf(t, test.source)
			text := problems.Error()
			if len(problems) != 1 || !strings.Contains(text, test.want) {
				t.Errorf("New: %s\nwant %s", text, test.want)
			}
			if strings.Contains(text, "hunter2") || problems.Pass() {
				t.Errorf("it tells a secret, or says that it passes: %s", text)
			}
			checkNew(t, test.source)
		})
	}
}

func TestASecretThatJujuDidNotGivePasses(t *testing.T) {
	source := tokenSource(Secret{Err: errors.New("connection is shut down")})
	problems := problemsOf(t, source)
	if want := `token-secret-id ` + tokenSecretID + ` could not be read: the next hook tries again: connection is shut down`; problems.Error() != want || !problems.Pass() {
		t.Errorf("New: %s (passes: %v)\nwant %s", problems, problems.Pass(), want)
	}
	source.Config["vm-cpu"] = 0
	if problems := problemsOf(t, source); problems.Pass() {
		t.Errorf("%s: that can't pass", problems)
	}
}

func TestSecretIDs(t *testing.T) {
	const other = "secret://0c5a6f0e-4f0a-4a5f-8d0e-5e5f0c1d2b3a/d4q1rfvmp25c7a1h6k0g"
	for name, test := range map[string]struct {
		config map[string]any
		want   []string
	}{
		"none":       {map[string]any{"token": tokenSecretID}, nil},
		"both":       {map[string]any{"token-secret-id": " " + tokenSecretID + "\n", "github-app-private-key-secret-id": keySecretID}, []string{tokenSecretID, keySecretID}},
		"a bare id":  {map[string]any{"token-secret-id": strings.TrimPrefix(tokenSecretID, "secret:")}, []string{tokenSecretID}},
		"with model": {map[string]any{"token-secret-id": other}, []string{other}},
		"others":     {map[string]any{"token-secret-id": "--help", "github-app-private-key-secret-id": 5}, nil},
		"a token":    {map[string]any{"token-secret-id": "ghp_hunter2"}, nil},
	} {
		if got := SecretIDs(test.config); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestDecodeRefusesDamagedCredentials(t *testing.T) {
	app := func(client string, installation int, key string) map[string]any {
		return map[string]any{"client-id": client, "installation-id": installation, "private-key": key}
	}
	key := pkcs1(testKey())
	for name, change := range map[string]map[string]any{
		"neither":              {"token": "", "app": nil},
		"both":                 {"token": "ghp_x"},
		"no client":            {"app": app("", 1, key)},
		"no installation":      {"app": app("Iv1", 0, key)},
		"no key":               {"app": app("Iv1", 1, "")},
		"a damaged key":        {"app": app("Iv1", 1, key[:100])},
		"no number":            {"app": map[string]any{"installation-id": "x"}},
		"an App from a secret": {"token-by-secret": true},
	} {
		var fields map[string]any
		if err := json.Unmarshal(mustEncode(t, mustNew(t, appSource(nil))), &fields); err != nil {
			t.Fatal(err)
		}
		maps.Copy(fields, change)
		damaged, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(damaged); err == nil || strings.Contains(err.Error(), "ghp_x") {
			t.Errorf("%s: Decode says %v", name, err)
		}
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	s := mustNew(t, appSource(nil))
	marshalled, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(s.Credential.App.PrivateKey.Reveal(), "\n")[3]
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", s, s, s), string(marshalled)} {
		if strings.Contains(text, line) {
			t.Errorf("the state prints its key: %s", text)
		}
	}
}
