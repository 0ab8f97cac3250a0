package openstack

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
	"github-runner/lab/faults"
	"github-runner/lab/openstack"
)

// by is a change of the clouds.yaml.
func by(old, new string) func(*Config) {
	return func(c *Config) { c.Clouds = secret.New(strings.Replace(c.Clouds.Reveal(), old, new, 1)) }
}

func TestLogins(t *testing.T) {
	credential := openstack.FirstWorld().Projects[0].Credentials[0]
	const password = "      username: lab\n      password: lab-password\n      project_name: lab\n      user_domain_name: Default\n      project_domain_name: Default\n"
	tests := map[string]struct {
		change func(*Config)
		kind   error
		words  []string
	}{
		"by password":         {by("x", "x"), nil, nil},
		"by default domains":  {by("      user_domain_name: Default\n      project_domain_name: Default\n", ""), nil, nil},
		"at Keystone's root":  {by("/identity/v3", "/identity/"), nil, nil},
		"internally":          {by("    region_name:", "    interface: internal\n    region_name:"), nil, nil},
		"in any region":       {by("    region_name: RegionOne\n", ""), nil, nil},
		"by a credential":     {by(password, "      application_credential_id: "+credential.ID+"\n      application_credential_secret: "+credential.Secret+"\n"), nil, nil},
		"by its name":         {by(password, "      application_credential_name: "+credential.Name+"\n      application_credential_secret: "+credential.Secret+"\n      username: lab\n"), nil, nil},
		"a wrong password":    {by("lab-password", "hunter2"), runner.ErrUnauthorized, []string{"set openstack-clouds-yaml with credentials that OpenStack takes", "cannot log in to OpenStack at http://cloud:5000/identity/v3", "requires authentication"}},
		"another project":     {by("project_name: lab", "project_name: other"), runner.ErrUnauthorized, nil},
		"another domain":      {by("project_domain_name: Default", "project_domain_name: Other"), runner.ErrUnauthorized, nil},
		"no such region":      {by("RegionOne", "RegionTwo"), runner.ErrNotFound, []string{"correct region_name and interface in openstack-clouds-yaml"}},
		"nobody there":        {by("cloud:5000", "nowhere:5000"), runner.ErrUnreachable, []string{"cannot log in to OpenStack at http://nowhere:5000/identity/v3", "connection refused"}},
		"nothing there":       {by("/identity/v3", "/nothing/v3"), runner.ErrNotFound, nil},
		"a file that is gone": {by("    region_name:", "    cacert: /nowhere/ca.pem\n    region_name:"), os.ErrNotExist, []string{"put the file there that cacert in openstack-clouds-yaml names"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.unit(mine, test.change)
				_, err := u.Prepare(y.Context(), want(1))
				if test.kind == nil {
					must(t, err)
					u.create()
					return
				}
				expect(t, err, test.kind, test.words...)
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error tells the password: %v", err)
				}
			})
		})
	}
}

// Nova's versions decide which one is asked for.
// Who is to give way does so at once, whichever call of a login hangs.
func TestLoginsAreCalledOff(t *testing.T) {
	for name, test := range map[string]struct {
		slow  string
		again bool
	}{
		"the token":         {slow: "POST /identity/*"},
		"Neutron's version": {slow: "GET /network/"},
		"Glance's version":  {slow: "GET /image/"},
		"Nova's version":    {slow: "GET /compute/*"},
		"another token":     {slow: "POST /identity/*", again: true},
	} {
		t.Run(name, func(t *testing.T) {
			inYard(t, openstack.Options{}, func(y *yard) {
				u := y.unit(mine)
				if test.again {
					u.list()
					y.fault(faults.Fault{Kind: openstack.TokenRevoked, Count: 1})
				}
				y.fault(faults.Fault{Kind: openstack.SlowAnswers, Name: test.slow, For: 20 * time.Second})
				ctx, cancel := context.WithTimeout(y.Context(), time.Second)
				defer cancel()
				began := time.Now()
				if _, err := u.List(ctx); err == nil {
					t.Error("it is not slow")
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("who gives way takes %v", took)
				}
				y.ClearFaults("")
				u.list()
			})
		})
	}
}

func TestMicroversions(t *testing.T) {
	tests := map[string]struct {
		told string
		want string
	}{
		"newer":     {`{"version": {"id": "v2.1", "version": "2.100", "min_version": "2.1"}}`, "2.90"},
		"older":     {`{"version": {"id": "v2.1", "version": "2.25", "min_version": "2.1"}}`, "2.25"},
		"none":      {`{"version": {"id": "v2.0", "version": ""}}`, `the version of its API is "", and not one of 2.1 to 2.90`},
		"next":      {`{"version": {"version": "3.1"}}`, `the version of its API is "3.1"`},
		"no answer": {`<html>`, "what answers is no OpenStack"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			emulated, err := openstack.New(openstack.Options{Timing: openstack.Quick(), Log: silence()})
			must(t, err)
			apis := emulated.Handler()
			var asked string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/compute/v2.1/" {
					_, _ = io.WriteString(w, test.told)
					return
				}
				if strings.HasPrefix(r.URL.Path, "/compute/v2.1/servers") {
					asked = r.Header.Get("X-Openstack-Nova-Api-Version")
					r.Header.Set("X-Openstack-Nova-Api-Version", "2.1")
					r.Header.Del("Openstack-Api-Version")
				}
				apis.ServeHTTP(w, r)
			}))
			defer server.Close()
			cloud := newCloud(t, server.URL, "")
			if _, err := cloud.List(t.Context()); err != nil && !strings.Contains(err.Error(), test.want) || err == nil && asked != test.want {
				t.Errorf("it asks for %q, %v", asked, err)
			}
		})
	}
}

// What can't be seen is not gone.
func TestCellsThatAreDown(t *testing.T) {
	emulated, err := openstack.New(openstack.Options{Timing: openstack.Quick(), Log: silence()})
	must(t, err)
	apis := emulated.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/servers/detail") {
			_, _ = io.WriteString(w, `{"servers": [{"id": "7f1f4ecb-8a35-4a38-8f4f-1d1f0a4d8d36", "status": "UNKNOWN", "tenant_id": "x", "created": "2026-01-02T03:04:05Z", "links": []}]}`)
			return
		}
		apis.ServeHTTP(w, r)
	}))
	defer server.Close()
	_, err = newCloud(t, server.URL, "").List(t.Context())
	expect(t, err, runner.ErrUnreachable, "a cell of Nova's is down")
}

// newCloud is a cloud at an address, with a line more in its clouds.yaml.
func newCloud(t testing.TB, url, line string, changes ...func(*Config)) *Cloud {
	t.Helper()
	config := Config{
		Owner: mine, Keys: keys(t), Flavor: "m1.small", Image: "noble", Network: "lab", Log: silence(),
		Clouds: secret.New("clouds:\n  lab:\n    region_name: RegionOne\n" + line + "\n    auth:\n      auth_url: " + url +
			"/identity/v3\n      username: lab\n      password: lab-password\n      project_name: lab\n"),
	}
	for _, change := range changes {
		change(&config)
	}
	cloud, err := New(config)
	must(t, err)
	t.Cleanup(cloud.Close)
	return cloud
}

func TestCertificates(t *testing.T) {
	emulated, err := openstack.New(openstack.Options{Timing: openstack.Quick(), Log: silence()})
	must(t, err)
	server := httptest.NewUnstartedServer(emulated.Handler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	path, empty := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "empty.pem")
	must(t, os.WriteFile(path, []byte(certificate), 0o600))
	must(t, os.WriteFile(empty, []byte("none"), 0o600))
	for line, advice := range map[string]string{
		"    cacert: |\n      " + strings.ReplaceAll(certificate, "\n", "\n      "): "",
		"    cacert: " + path:  "",
		"    verify: false":    "",
		"    verify: true":     "give the certificate that signs OpenStack's as cacert in openstack-clouds-yaml",
		"    cacert: " + empty: "put certificates in PEM into the file",
	} {
		_, err := newCloud(t, server.URL, line).List(t.Context())
		if advice == "" {
			must(t, err)
			continue
		}
		var trouble runner.Trouble
		if !isTrouble(err, &trouble) || !strings.Contains(trouble.Advice, advice) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// An OpenStack that is far is reached by a proxy alone.
func TestProxies(t *testing.T) {
	emulated, err := openstack.New(openstack.Options{Timing: openstack.Quick(), Log: silence()})
	must(t, err)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "cloud.invalid:5000" {
			t.Errorf("the proxy is asked for %s", r.URL)
		}
		emulated.Handler().ServeHTTP(w, r)
	}))
	defer proxy.Close()
	cloud := newCloud(t, "http://cloud.invalid:5000", "", func(c *Config) {
		c.Route = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	})
	template, err := cloud.Prepare(t.Context(), want(1))
	must(t, err)
	must(t, cloud.Create(t.Context(), template, runner.Birth{Name: mine.NewName(), Scope: home, RunnerID: 7, JIT: secret.New("and0LWJsb2I=")}))
	if all, err := cloud.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("behind the proxy there are %+v, %v", all, err)
	}
}

// A redirection does not take the token to another place.
func TestRedirections(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a call goes elsewhere: %s, with the token %q", r.URL, r.Header.Get("X-Auth-Token"))
	}))
	defer elsewhere.Close()
	emulated, err := openstack.New(openstack.Options{Timing: openstack.Quick(), Log: silence()})
	must(t, err)
	apis := emulated.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/servers/detail") {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusFound)
			return
		}
		apis.ServeHTTP(w, r)
	}))
	defer server.Close()
	if _, err := newCloud(t, server.URL, "").List(t.Context()); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("the list says %v", err)
	}
}

// Both sides are measured, the emulation and its client.
func BenchmarkListAThousandServers(b *testing.B) {
	emulated, err := openstack.New(openstack.Options{Timing: openstack.Quick(), Log: silence()})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(emulated.Handler())
	defer server.Close()
	cloud := newCloud(b, server.URL, "")
	template, err := cloud.Prepare(b.Context(), want(1000))
	if err != nil {
		b.Fatal(err)
	}
	for range 1000 {
		birth := runner.Birth{Name: mine.NewName(), Scope: home, RunnerID: 7, JIT: secret.New("and0LWJsb2I=")}
		if err := cloud.Create(b.Context(), template, birth); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if all, err := cloud.List(b.Context()); err != nil || len(all) != 1000 {
			b.Fatal(len(all), err)
		}
	}
}
