package clouds_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/clouds"
	"github-runner/charm/secret"
)

// The document must not show in any error: hidden is in all values of malformed ones.
const hidden = "hunter2"

const byPassword = `
clouds:
  second-by-name:
    region_name: RegionOne
    interface: internal
    verify: false
    profile: unknown
    auth:
      auth_url: https://keystone.example.com:5000/v3
      username: ann
      password: hunter2
      project_name: runners
      user_domain_name: People
      project_domain_name: Projects
  a-first-by-name:
    auth: {}
`

func TestParse(t *testing.T) {
	defaults := clouds.Domain{ID: "default"}
	tests := map[string]struct {
		document string
		want     clouds.Cloud
	}{
		"a password": {byPassword, clouds.Cloud{
			AuthURL: "https://keystone.example.com:5000/v3", Region: "RegionOne", Interface: clouds.Internal, Insecure: true,
			User:     clouds.Identity{Name: "ann", Domain: clouds.Domain{Name: "People"}},
			Password: secret.New("hunter2"),
			Project:  clouds.Identity{Name: "runners", Domain: clouds.Domain{Name: "Projects"}},
		}},
		"IDs": {`{"clouds": {"x": {"auth": {"auth_url": "http://k", "user_id": "u", "username": "ann", "password": "p", "project_id": "i", "project_name": "n"}}}}`, clouds.Cloud{
			AuthURL: "http://k", Interface: clouds.Public,
			User: clouds.Identity{ID: "u"}, Password: secret.New("p"), Project: clouds.Identity{ID: "i"},
		}},
		"old names, one domain": {"clouds:\n  x:\n    endpoint_type: adminURL\n    auth_type: v3password\n    identity_api_version: 3.14\n" +
			"    auth: {auth_url: 'http://k/', username: a, password: p, tenant_name: t, domain_id: d}", clouds.Cloud{
			AuthURL: "http://k/", Interface: clouds.Admin,
			User: clouds.Identity{Name: "a", Domain: clouds.Domain{ID: "d"}}, Password: secret.New("p"),
			Project: clouds.Identity{Name: "t", Domain: clouds.Domain{ID: "d"}},
		}},
		"an application credential": {"clouds:\n  x:\n    auth_type: v3applicationcredential\n" +
			"    auth: {auth_url: 'http://k', application_credential_id: i, application_credential_secret: s, project_name: no, password: no}", clouds.Cloud{
			AuthURL: "http://k", Interface: clouds.Public, Credential: clouds.Credential{ID: "i", Secret: secret.New("s")},
		}},
		"its name, by its keys alone": {"clouds:\n  x:\n    auth: {auth_url: 'http://k', application_credential_name: n, application_credential_secret: s, username: ann}", clouds.Cloud{
			AuthURL: "http://k", Interface: clouds.Public, User: clouds.Identity{Name: "ann", Domain: defaults},
			Credential: clouds.Credential{Name: "n", Secret: secret.New("s")},
		}},
		"numbers as they are written": {"clouds:\n  1:\n    cacert: /etc/ca.pem\n    auth: {auth_url: 'http://k', username: 007, password: 0x10, project_name: 1e3}", clouds.Cloud{
			AuthURL: "http://k", Interface: clouds.Public, CACertFile: "/etc/ca.pem", Password: secret.New("0x10"),
			User: clouds.Identity{Name: "007", Domain: defaults}, Project: clouds.Identity{Name: "1e3", Domain: defaults},
		}},
		"anchors": {"base: &base {verify: no, auth: &auth {auth_url: 'http://k', username: a, password: p, project_name: t}}\n" +
			"clouds:\n  x:\n    <<: [{region_name: r}, *base]\n    verify: yes\n    auth: {<<: *auth, username: b}", clouds.Cloud{
			AuthURL: "http://k", Region: "r", Interface: clouds.Public, Password: secret.New("p"),
			User: clouds.Identity{Name: "b", Domain: defaults}, Project: clouds.Identity{Name: "t", Domain: defaults},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := clouds.Parse(secret.New(test.document))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// document is one with some lines of a cloud, and some in its auth.
func document(cloud, auth string) string {
	return fmt.Sprintf("clouds:\n  hunter2:\n    %s\n    auth:\n      auth_url: https://hunter2.example.com\n      %s\n", cloud, auth)
}

func TestParseTellsWhatIsWrong(t *testing.T) {
	const login = "{username: hunter2, password: hunter2, project_name: hunter2}"
	good := "username: hunter2\n      password: hunter2\n      project_name: hunter2"
	tests := map[string]struct{ document, want string }{
		"empty":                    {"", "is empty: give a clouds.yaml"},
		"blank":                    {" \n\t\n", "is empty"},
		"a comment":                {"# hunter2\n", "is empty"},
		"null":                     {"null # hunter2", "is not a mapping"},
		"a text":                   {"hunter2", "is not a mapping"},
		"a list":                   {"- hunter2", "is not a mapping"},
		"1 MB":                     {"clouds: " + strings.Repeat("hunter2 ", 1<<17), "is longer than 256 KiB"},
		"not UTF-8":                {"clouds: hunter2\xff", "is not text"},
		"a zero byte":              {"clouds: hunter2\x00", "is not text"},
		"a tab":                    {"clouds:\n  x:\n\thunter2: 1\n", "is not valid YAML, by its line 3: indent line 3 with spaces instead of a tab"},
		"an open quote":            {"clouds: 'hunter2\n", "is not valid YAML"},
		"a template":               {"clouds: {{ hunter2 }}", "is not valid YAML"},
		"two of one key":           {"clouds: {x: {hunter2: 1, hunter2: 2}}", "is not valid YAML, by its line 1"},
		"no such anchor":           {"clouds: *hunter2", "is not valid YAML"},
		"an anchor in itself":      {"clouds: &hunter2 {x: *hunter2}", "is not valid YAML"},
		"two documents":            {"clouds: {}\n---\nhunter2: 1\n", "has more than one YAML document"},
		"no clouds":                {"cloud: {hunter2: 1}", "has no clouds"},
		"null clouds":              {"clouds:\n", "has no clouds"},
		"none of them":             {"clouds: {}", "has no clouds"},
		"a list of clouds":         {"clouds: [{name: hunter2}]", "has clouds that are not a mapping"},
		"a text for clouds":        {"clouds: hunter2", "has clouds that are not a mapping"},
		"a null cloud":             {"clouds: {hunter2: }", "has a first cloud that is not a mapping"},
		"a text for a cloud":       {"clouds: {x: hunter2}", "has a first cloud that is not a mapping"},
		"no auth":                  {"clouds: {x: {region_name: hunter2}}", "has a first cloud without auth"},
		"null auth":                {"clouds: {x: {auth: null, region_name: hunter2}}", "has a first cloud without auth"},
		"a list for auth":          {"clouds: {x: {auth: [hunter2]}}", "has an auth that is not a mapping"},
		"no URL":                   {"clouds: {x: {auth: " + login + "}}", "has a first cloud without auth.auth_url"},
		"an empty URL":             {"clouds: {x: {auth: {auth_url: '', username: hunter2}}}", "has a first cloud without auth.auth_url"},
		"a URL without scheme":     {"clouds: {x: {auth: {auth_url: 'hunter2:5000/v3'}}}", "has an auth.auth_url that is no URL"},
		"another scheme":           {"clouds: {x: {auth: {auth_url: 'ftp://hunter2/v3'}}}", "has an auth.auth_url that is no URL"},
		"no host":                  {"clouds: {x: {auth: {auth_url: 'https:///hunter2'}}}", "has an auth.auth_url that is no URL"},
		"a URL with a password":    {"clouds: {x: {auth: {auth_url: 'https://ann:hunter2@k'}}}", "has an auth.auth_url with more than an address"},
		"a URL with a query":       {"clouds: {x: {auth: {auth_url: 'https://k?token=hunter2'}}}", "has an auth.auth_url with more than an address"},
		"version 2":                {"clouds: {x: {auth: {auth_url: 'https://hunter2/v2.0/'}}}", "has an auth.auth_url for version 2 of Keystone"},
		"version 2 by its number":  {document("identity_api_version: 2", good), "has an identity_api_version that is not 3"},
		"a list for a password":    {document("verify: true", "username: hunter2\n      password: [hunter2]"), "has a first cloud whose auth.password is not a text"},
		"a mapping for a region":   {document("region_name: {name: hunter2}", good), "has a first cloud whose region_name is not a text"},
		"a text for verify":        {document("verify: hunter2", good), "has a first cloud whose verify is neither true nor false"},
		"another interface":        {document("interface: hunter2", good), "has an interface that is not known"},
		"another auth_type":        {document("auth_type: v3hunter2", good), "has an auth_type that is not supported"},
		"a token":                  {document("auth_type: token", "token: hunter2"), "has an auth_type that is not supported"},
		"a relative cacert":        {document("cacert: hunter2.pem", good), "has a cacert that is neither a certificate nor an absolute path"},
		"a cacert in the home":     {document("cacert: ~/hunter2.pem", good), "has a cacert that is neither"},
		"a broken cacert":          {document(`cacert: "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n"`, good), "has a cacert without a certificate that can be read"},
		"nobody":                   {document("verify: true", "project_name: hunter2"), "has a first cloud without a user"},
		"no password":              {document("verify: true", "username: hunter2\n      project_name: hunter2"), "has a first cloud without auth.password"},
		"a null password":          {document("verify: true", "username: hunter2\n      password: ~\n      project_name: hunter2"), "has a first cloud without auth.password"},
		"no project":               {document("verify: true", "username: hunter2\n      password: hunter2"), "has a first cloud without a project"},
		"a credential's ID alone":  {document("verify: true", "application_credential_id: hunter2"), "without auth.application_credential_secret"},
		"a credential's secret":    {document("verify: true", "application_credential_secret: hunter2"), "without auth.application_credential_id"},
		"a credential's name":      {document("verify: true", "application_credential_name: hunter2\n      application_credential_secret: hunter2"), "and no user"},
		"auth_type and another":    {document("auth_type: password", "application_credential_id: hunter2\n      application_credential_secret: hunter2"), "has a first cloud without a user"},
		"auth_type of credentials": {document("auth_type: v3applicationcredential", good), "without auth.application_credential_secret"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := clouds.Parse(secret.New(test.document))
			var fault clouds.Fault
			if !errors.As(err, &fault) || fault.What == "" || fault.Right == "" {
				t.Fatalf("the error is %#v", err)
			}
			if text := err.Error(); !strings.Contains(text, test.want) || strings.Contains(text, hidden) || strings.ContainsAny(text, "\n\r") {
				t.Errorf("got %q, want %q", text, test.want)
			}
		})
	}
}

// An alias of aliases would fill the memory.
func TestParseRefusesBombs(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	bomb.WriteString("clouds: {x: {auth: {auth_url: *a12}}}\n")
	if _, err := clouds.Parse(secret.New(bomb.String())); err == nil {
		t.Error("it is taken")
	}
}

func TestParseTakesACertificate(t *testing.T) {
	certificate := newCertificate(t)
	indented := "cacert: |\n      " + strings.ReplaceAll(strings.TrimSpace(certificate), "\n", "\n      ")
	got, err := clouds.Parse(secret.New(document(indented, "username: a\n      password: p\n      project_name: t")))
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(got.CACert) != strings.TrimSpace(certificate) || got.CACertFile != "" || got.Insecure {
		t.Errorf("got %q, %q, %v", got.CACert, got.CACertFile, got.Insecure)
	}
}

func newCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
