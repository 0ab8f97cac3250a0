package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

const testModel = "0c5a6f0e-4f0a-4a5f-8d0e-5e5f0c1d2b3a"

// sourceWith is a source that is right, with some options set.
func sourceWith(config map[string]any) Source {
	merged := map[string]any{"path": "acme/widgets", "token": "ghp_x"}
	maps.Copy(merged, config)
	return Source{Config: merged, Machine: "x86_64", ModelUUID: testModel, Unit: "github-runner/0"}
}

func mustNew(t testing.TB, source Source) CharmState {
	t.Helper()
	s, err := New(source)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func diffStates(want, got CharmState) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
}

// problemsOf returns what New complains about; none is a failure of the test.
func problemsOf(t testing.TB, source Source) Problems {
	t.Helper()
	s, err := New(source)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("New: %v, want problems", err)
	}
	if diff := diffStates(CharmState{}, s); diff != "" {
		t.Errorf("New gives a state beside its problems:\n%s", diff)
	}
	return problems
}

func TestNewWithDefaults(t *testing.T) {
	got := mustNew(t, sourceWith(nil))
	want := CharmState{
		Owner:             runner.Owner{ModelUUID: testModel, Unit: "github-runner/0"},
		Scope:             runner.Scope{API: "https://api.github.com", Path: "acme/widgets"},
		GitHubURL:         "https://github.com",
		Credential:        Credential{Token: secret.New("ghp_x")},
		Labels:            []string{"self-hosted", "linux", "x64", "github-runner", "jammy"},
		Count:             1,
		ReconcileInterval: 10 * time.Minute,
		BaseImage:         "jammy",
		ImageSource:       ImageSource{Server: "https://cloud-images.ubuntu.com/releases", Alias: "jammy"},
		ImageLife:         7 * 24 * time.Hour,
		InstanceType:      VirtualMachine,
		Resources:         Resources{CPU: 2, Memory: 7 << 30, Disk: 10 << 30},
		Storage:           JujuStorage,
		Arch:              AMD64,
	}
	if diff := diffStates(want, got); diff != "" {
		t.Errorf("New differs (-want +got):\n%s", diff)
	}
}

// fullSource sets everything that can be set on LXD.
func fullSource() Source {
	return Source{
		Config: map[string]any{
			"path":                       " acme ",
			"token":                      "github_pat_11AAA\n",
			"group":                      "Big 'Ones' & co",
			"github-url":                 "https://GitHub.Example.com:8443/",
			"labels":                     "GPU, team.a,,c++, gpu, Linux, größe",
			"virtual-machines":           json.Number("5"),
			"reconcile-interval":         float64(1),
			"base-image":                 "24.04",
			"image-source":               "https://images.example.com:8443/releases/:team/noble",
			"image-interval":             float64(0),
			"image-packages":             "podman, libssl-dev,,podman",
			"image-script":               " #!/bin/sh\necho done\n\n",
			"lxd-instance-type":          "container",
			"runner-storage":             "memory",
			"vm-cpu":                     int64(4),
			"vm-memory":                  "512MiB",
			"vm-disk":                    "1TiB",
			"denylist":                   "10.0.0.0/8, 192.0.2.7,10.0.0.0/255.0.0.0, fd00::/8",
			"dockerhub-mirror":           "https://mirror.example.com:5000/",
			"experimental-use-aproxy":    true,
			"aproxy-exclude-addresses":   "192.0.2.10-192.0.2.20, 10.1.2.3/8,192.0.2.7-192.0.2.12,, fd00::/8",
			"aproxy-redirect-ports":      "443, 80-442",
			"allow-external-contributor": false,
			"test-mode":                  "insecure",
			"an-option-of-tomorrow":      "x",
		},
		Proxies:   Proxies{HTTP: secret.New(" http://proxy:3128\n"), HTTPS: secret.New("https://user:pa$$@proxy"), NoProxy: "localhost, 10.0.0.0/8,größe.example.com:*,"},
		Machine:   "aarch64",
		ModelUUID: testModel,
		Unit:      "big-runner/12",
		DebugSSH: map[string]map[string]string{
			"tmate/1": debugData("2001:db8::1", "22"),
			"tmate/0": debugData("192.0.2.1", "10022"),
		},
		Image: map[string]map[string]string{"builder/0": {"id": "0123456789ab", "tags": "GPU, noble,arm64,big"}},
	}
}

func debugData(host, port string) map[string]string {
	return map[string]string{"host": host, "port": port, "rsa_fingerprint": "SHA256:ab+/9", "ed25519_fingerprint": "SHA256:cd="}
}

func TestNewWithEverything(t *testing.T) {
	got := mustNew(t, fullSource())
	want := CharmState{
		Owner:             runner.Owner{ModelUUID: testModel, Unit: "big-runner/12"},
		Scope:             runner.Scope{API: "https://github.example.com:8443/api/v3", Path: "acme"},
		GitHubURL:         "https://github.example.com:8443",
		Credential:        Credential{Token: secret.New("github_pat_11AAA")},
		Group:             "Big 'Ones' & co",
		Labels:            []string{"self-hosted", "linux", "arm64", "big-runner", "noble", "gpu", "team.a", "c++", "größe", "big"},
		Count:             5,
		ReconcileInterval: time.Minute,
		BaseImage:         "noble",
		ImageSource:       ImageSource{Server: "https://images.example.com:8443/releases", Alias: "team/noble", Named: true},
		ImagePackages:     []string{"libssl-dev", "podman"},
		ImageScript:       "#!/bin/sh\necho done\n",
		ImageRelation:     ImageRelation{Integrated: true, Application: "builder", ID: "0123456789ab"},
		InstanceType:      Container,
		Resources:         Resources{CPU: 4, Memory: 512 << 20, Disk: 1 << 40},
		Storage:           MemoryStorage,
		Arch:              ARM64,
		Denylist:          []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("fd00::/8")},
		DockerhubMirror:   "https://mirror.example.com:5000/",
		Proxies:           Proxies{HTTP: secret.New("http://proxy:3128"), HTTPS: secret.New("https://user:pa$$@proxy"), NoProxy: "localhost,10.0.0.0/8,größe.example.com:*"},
		Aproxy:            Aproxy{Proxy: "proxy:3128", Exclude: addrRanges("10.0.0.0-10.255.255.255", "127.0.0.0-127.255.255.255", "169.254.0.0-169.254.255.255", "192.0.2.7-192.0.2.20"), Ports: []PortRange{{80, 443}}},
		MembersOnly:       true,
		DebugHosts: []DebugHost{
			{netip.MustParseAddr("192.0.2.1"), 10022, "SHA256:ab+/9", "SHA256:cd="},
			{netip.MustParseAddr("2001:db8::1"), 22, "SHA256:ab+/9", "SHA256:cd="},
		},
	}
	if diff := diffStates(want, got); diff != "" {
		t.Errorf("New differs (-want +got):\n%s", diff)
	}
	if address := got.Proxies.Address(); address != "proxy:3128" {
		t.Errorf("the proxy's address is %q", address)
	}
}

func TestGitHubServers(t *testing.T) {
	tests := []struct{ given, url, api string }{
		{"", "https://github.com", "https://api.github.com"},
		{"https://github.com/", "https://github.com", "https://api.github.com"},
		{"https://www.GitHub.com", "https://github.com", "https://api.github.com"},
		{"https://ghe.example.com", "https://ghe.example.com", "https://ghe.example.com/api/v3"},
		{"http://198.51.100.2:8080/", "http://198.51.100.2:8080", "http://198.51.100.2:8080/api/v3"},
		{"http://[::1]:8080", "http://[::1]:8080", "http://[::1]:8080/api/v3"},
		{"https://acme.ghe.com", "https://acme.ghe.com", "https://api.acme.ghe.com"},
	}
	for _, test := range tests {
		s := mustNew(t, sourceWith(map[string]any{"github-url": test.given}))
		if s.GitHubURL != test.url || s.Scope.API != test.api {
			t.Errorf("github-url %q gives %q and API %q, want %q and %q", test.given, s.GitHubURL, s.Scope.API, test.url, test.api)
		}
	}
}

func TestProxyAddress(t *testing.T) {
	tests := []struct {
		proxies Proxies
		want    string
	}{
		{Proxies{}, ""},
		{Proxies{HTTP: secret.New("http://proxy")}, "proxy:80"},
		{Proxies{HTTPS: secret.New("https://user:pass@proxy/")}, "proxy:443"},
		{Proxies{HTTP: secret.New("http://[2001:db8::1]:3128"), HTTPS: secret.New("https://other")}, "[2001:db8::1]:3128"},
	}
	for _, test := range tests {
		if got := test.proxies.Address(); got != test.want {
			t.Errorf("the address of %v is %q, want %q", test.proxies, got, test.want)
		}
	}
}

func TestSizes(t *testing.T) {
	tests := []struct {
		given string
		want  int64
	}{
		{"1KiB", 1 << 10}, {"007MiB", 7 << 20}, {"8PiB", 8 << 50}, {"7EiB", 7 << 60},
		{"9007199254740991KiB", 9007199254740991 << 10},
		{"8EiB", 0}, {"9007199254740992KiB", 0}, {"99999999999999999999GiB", 0},
		{"0GiB", 0}, {"-1GiB", 0}, {"7", 0}, {"7GB", 0}, {"7gib", 0}, {"7 GiB", 0}, {"1.5GiB", 0}, {"GiB", 0}, {"7GiB\n8GiB", 0}, {"٣GiB", 0},
	}
	for _, test := range tests {
		got, ok := parseSize(test.given)
		if got != test.want || ok != (test.want != 0) {
			t.Errorf("parseSize(%q) = %d, %v, want %d", test.given, got, ok, test.want)
		}
	}
}

// badValues has every class of bad input: what is given, and the one problem
// that has to come of it.
var badValues = []struct {
	option string
	value  any
	want   string
}{
	{"path", "", `path is missing: give owner/repository or the name of an organisation, such as acme/widgets or acme`},
	{"path", "a b", `path "a b" is not valid: give owner/repository`},
	{"path", "/", `path "/" is not valid`},
	{"path", "acme/", `path "acme/" is not valid: give owner/repository`},
	{"path", "/widgets", `path "/widgets" is not valid`},
	{"path", "acme/widgets/more", `path "acme/widgets/more" is not valid`},
	{"path", "https://github.com/acme/widgets", `path "https://github.com/acme/widgets" is not valid`},
	{"path", "acme//widgets", `is not valid`},
	{"path", "acme/..", `is not valid`},
	{"path", "acme/widgets.git", `is not valid`},
	{"path", "acme/wid?gets#x", `is not valid`},
	{"path", strings.Repeat("a", 40), `is not valid`},
	{"path", "acme/" + strings.Repeat("a", 101), `is not valid`},
	{"path", 3.0, `path is not valid: it must be a string`},
	{"token", "", `token is missing: give a personal access token for GitHub`},
	{"token", "ghp_a b", `token is not valid: give a personal access token as GitHub showed it`},
	{"token", "ghp_a\nghp_b", `token is not valid`},
	{"token", "ghp_ä", `token is not valid`},
	{"group", "a\nb", `group "a\nb" is not valid: give the name of a runner group`},
	{"github-url", "github.com", `github-url "github.com" is not valid: give the address`},
	{"github-url", "http://github.com", `github-url "http://github.com" is not valid: give https://github.com`},
	{"github-url", "https://", `is not valid`},
	{"github-url", "https://github.example.com/api/v3", `without a path`},
	{"github-url", "https://github.example.com/?q", `is not valid`},
	{"github-url", "ftp://github.example.com", `is not valid`},
	{"github-url", "https://github.example.com:0", `is not valid`},
	{"github-url", "https://github.example.com:x", `is not valid`},
	{"labels", "ok, a b, c\td, $(x), 'q'", `labels "a b", "c\td", "$(x)" and 1 more are not valid: give labels separated by commas`},
	{"labels", "Fine, Not$Fine", `labels "Not$Fine" is not valid`},
	{"labels", strings.Repeat("x", 257), `at most 256 characters each`},
	{"labels", manyLabels(96), `labels are too many (96): give 95 at most: GitHub takes 100 per runner, and 5 are the charm's own`},
	{"virtual-machines", -1, `virtual-machines "-1" is not valid: give a whole number from 0 to 10000`},
	{"virtual-machines", 1.5, `virtual-machines "1.5" is not valid`},
	{"virtual-machines", json.Number("1e9"), `virtual-machines "1e9" is not valid`},
	{"virtual-machines", 10001, `is not valid`},
	{"virtual-machines", "many", `virtual-machines "many" is not valid`},
	{"reconcile-interval", 0, `reconcile-interval "0" is not valid: give a whole number from 1 to 10080`},
	{"vm-cpu", 0, `vm-cpu "0" is not valid: give a whole number from 1 to 1024`},
	{"vm-memory", "0GiB", `vm-memory "0GiB" is not valid: give a whole number above 0`},
	{"vm-memory", "8EiB", `vm-memory "8EiB" is not valid`},
	{"vm-disk", "10GB", `vm-disk "10GB" is not valid: give a whole number above 0 and KiB, MiB, GiB`},
	{"base-image", "focal", `base-image "focal" is not valid: give jammy (or 22.04), noble (24.04) or resolute (26.04)`},
	{"image-source", "ubuntu", `image-source "ubuntu" is not valid: give ubuntu:22.04,`},
	{"image-source", "debian:12", `image-source "debian:12" is not valid`},
	{"image-source", "http://mirror.example.com/releases:22.04", `image-source "http://mirror.example.com/releases:22.04" is not valid`},
	{"image-source", "https://images.example.com", `image-source "https://images.example.com" is not valid`},
	{"image-source", "https://me:hush@images.example.com/releases:22.04", `image-source is not valid: give`},
	{"image-source", "https://images.example.com:8443/releases", `image-source "https://images.example.com:8443/releases" is not valid`},
	{"image-source", "https://images.example.com:8443", `image-source "https://images.example.com:8443" is not valid`},
	{"image-source", "https://images.example.com/releases?sig=hush:22.04", `image-source is not valid: give`},
	{"image-source", "https://images.example.com/releases#x:22.04", `image-source "https://images.example.com/releases#x:22.04" is not valid`},
	{"image-source", "local:", `image-source "local:" is not valid`},
	{"image-source", ":22.04", `image-source ":22.04" is not valid`},
	{"image-source", "local:" + strings.Repeat("a", 129), `(135 characters) is not valid`},
	{"image-source", "ubuntu:22.04 --vm", `image-source "ubuntu:22.04 --vm" is not valid`},
	{"image-interval", 15, `image-interval "15" is not valid: give a whole number from 0 to 14`},
	{"image-packages", "podman, LibSSL", `image-packages "LibSSL" is not valid: give names of the distribution's packages`},
	{"image-packages", "podman; reboot", `image-packages "podman; reboot" is not valid`},
	{"image-packages", "r", `image-packages "r" is not valid`},
	{"image-packages", strings.Repeat("a", 101), `(101 characters) is not valid`},
	{"image-packages", "--force-yes", `image-packages "--force-yes" is not valid`},
	{"image-packages", manyPackages(), `image-packages has 201 packages: give at most 200`},
	{"image-script", "apt-get install -y podman", "image-script does not begin with #!: give a program of at most 24576 bytes"},
	{"image-script", "#!/bin/sh\r\ntrue", "image-script has carriage returns or NUL characters"},
	{"image-script", "#!/bin/sh\n" + strings.Repeat("x", maxImageScript), "image-script has 24587 bytes"},
	{"lxd-instance-type", "vm", `lxd-instance-type "vm" is not valid: give virtual-machine or container`},
	{"runner-storage", "disk", `runner-storage "disk" is not valid: give juju-storage or memory`},
	{"denylist", "10.0.0.5/8", `denylist "10.0.0.5/8" is not valid: give 10.0.0.0/8 for the network or 10.0.0.5 for the one address`},
	{"denylist", "10.0.0.5/8, 192.168.0.1/16", `denylist "10.0.0.5/8", "192.168.0.1/16" are not valid: give addresses and networks`},
	{"denylist", "10.0.0.5/8, example.com", `denylist "10.0.0.5/8", "example.com" are not valid: give addresses and networks`},
	{"denylist", "10.0.0.0/33, example.com", `denylist "10.0.0.0/33", "example.com" are not valid: give addresses and networks`},
	{"denylist", "10.0.0.0/255.0.255.0", `is not valid`},
	{"denylist", "fe80::1%eth0", `is not valid`},
	{"denylist", "::ffff:10.0.0.1", `is not valid`},
	{"dockerhub-mirror", "http://mirror.example.com", `dockerhub-mirror "http://mirror.example.com" is not valid: give an https URL`},
	{"dockerhub-mirror", "mirror.example.com", `is not valid`},
	{"dockerhub-mirror", "https://", `is not valid`},
	{"dockerhub-mirror", "https://mirror.example.com/?x=y", `dockerhub-mirror "https://mirror.example.com/?x=y" is not valid: give an https URL with a host and without a password or query`},
	{"dockerhub-mirror", "https://mirror.example.com/#x", `is not valid`},
	{"dockerhub-mirror", "https://user:hunter2@mirror.example.com", `dockerhub-mirror is not valid: give an https URL`},
	{"experimental-use-aproxy", true, `experimental-use-aproxy "true" is not valid: set juju-http-proxy`},
	{"experimental-use-aproxy", "yes", `give true or false`},
	{"aproxy-exclude-addresses", "10.0.0.1, 10.0.0.5-, -10.0.0.5, 10.0.0.5-10.0.0.1", `aproxy-exclude-addresses "10.0.0.5-", "-10.0.0.5", "10.0.0.5-10.0.0.1" are not valid: give addresses, networks and ranges`},
	{"aproxy-exclude-addresses", "example.com", `aproxy-exclude-addresses "example.com" is not valid`},
	{"aproxy-exclude-addresses", "10.0.0.1-fd00::1", `is not valid`},
	{"aproxy-exclude-addresses", "10.0.0.0/33", `is not valid`},
	{"aproxy-exclude-addresses", "fe80::1%eth0-fe80::2%eth0", `is not valid`},
	{"aproxy-exclude-addresses", "::ffff:10.0.0.1-::ffff:10.0.0.2", `is not valid`},
	{"aproxy-exclude-addresses", "1-2-3", `is not valid`},
	{"aproxy-exclude-addresses", 10.0, `aproxy-exclude-addresses is not valid: it must be a string`},
	{"aproxy-redirect-ports", "80, http, 65536, -1", `aproxy-redirect-ports "http", "65536", "-1" are not valid: give ports and ranges of ports from 0 to 65535`},
	{"aproxy-redirect-ports", "443-80", `aproxy-redirect-ports "443-80" is not valid`},
	{"aproxy-redirect-ports", "80-", `is not valid`},
	{"aproxy-redirect-ports", "80-90-100", `is not valid`},
	{"aproxy-redirect-ports", "+80", `is not valid`},
	{"aproxy-redirect-ports", "{80}", `is not valid`},
	{"repo-policy-compliance-url", "https://policy", `repo-policy-compliance-url is for runners on OpenStack only: reset it`},
	{"repo-policy-compliance-token", "t", `repo-policy-compliance-token is for runners on OpenStack only`},
	{"test-mode", "secure", `test-mode "secure" is not valid`},
}

func manyLabels(count int) string {
	var labels []string
	for i := range count {
		labels = append(labels, fmt.Sprint("label-", i))
	}
	return strings.Join(labels, ",")
}

func TestBadValues(t *testing.T) {
	for _, test := range badValues {
		t.Run(test.option, func(t *testing.T) {
			problems := problemsOf(t, sourceWith(map[string]any{test.option: test.value}))
			if len(problems) != 1 || problems[0].Option != test.option {
				t.Errorf("%s=%v gives %q, want one problem with it", test.option, test.value, problems)
			}
			if text := problems.Error(); !strings.Contains(text, test.want) {
				t.Errorf("%s=%v gives\n%s\nwant\n%s", test.option, test.value, text, test.want)
			}
		})
	}
}

func TestBadSurroundings(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Source)
		want   string
	}{
		{"proxy without scheme", func(s *Source) { s.Proxies.HTTP = secret.New("proxy:3128") }, `juju-http-proxy of the model "proxy:3128" is not valid: give an http or https URL`},
		{"proxy with a password", func(s *Source) { s.Proxies.HTTPS = secret.New("socks://user:hunter2@proxy") }, `juju-https-proxy of the model is not valid: give an http or https URL with a host, such as http://proxy.example.com:3128; it is not shown because it may hold a password: check the port too`},
		{"proxy with a quote in its host", func(s *Source) { s.Proxies.HTTP = secret.New("http://a'b:3128") }, `juju-http-proxy of the model "http://a'b:3128" is not valid`},
		{"proxy with a fragment", func(s *Source) { s.Proxies.HTTP = secret.New("http://proxy/#x") }, `juju-http-proxy of the model "http://proxy/#x" is not valid`},
		{"no-proxy with quotes", func(s *Source) {
			s.Proxies = Proxies{HTTP: secret.New("http://p"), NoProxy: `ok, "a", b#c,d e,f\g,$h`}
		}, `juju-no-proxy of the model "\"a\"", "b#c", "d e" and 2 more are not valid: give host names and addresses`},
		{"aproxy behind a bad proxy", func(s *Source) {
			s.Config["experimental-use-aproxy"] = true
			s.Proxies.HTTP = secret.New("proxy:3128")
		}, `juju-http-proxy of the model "proxy:3128" is not valid`},
		{"aproxy with a password", func(s *Source) {
			s.Config["experimental-use-aproxy"] = true
			s.Proxies.HTTP = secret.New("http://user:hunter2@proxy")
		}, `experimental-use-aproxy "true" is not valid: aproxy can't log in at a proxy: give one without user name and password in juju-http-proxy`},
		{"no-proxy with a line break", func(s *Source) { s.Proxies = Proxies{HTTP: secret.New("http://p"), NoProxy: "a\nb"} }, `juju-no-proxy of the model "a\nb" is not valid`},
		{"architecture", func(s *Source) { s.Machine = "riscv64" }, `architecture of the machine "riscv64" is not valid: deploy to a machine with amd64 or arm64`},
		{"no unit", func(s *Source) { s.Unit = "" }, `JUJU_UNIT_NAME "" is not valid`},
		{"unit with a slash too many", func(s *Source) { s.Unit = "a/../../etc/0" }, `JUJU_UNIT_NAME`},
		{"no model", func(s *Source) { s.ModelUUID = "" }, `JUJU_MODEL_UUID`},
		{"short model", func(s *Source) { s.ModelUUID = "0123abc" }, `JUJU_MODEL_UUID "0123abc" is not valid`},
		{"long model", func(s *Source) { s.ModelUUID = strings.Repeat("a", 65) }, `JUJU_MODEL_UUID`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := sourceWith(nil)
			test.change(&source)
			problems := problemsOf(t, source)
			if text := problems.Error(); len(problems) != 1 || !strings.Contains(text, test.want) || strings.Contains(text, "hunter2") {
				t.Errorf("New: %s\nwant %s", text, test.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	config := make(map[string]any)
	for _, test := range badValues {
		config[test.option] = test.value
	}
	problems := problemsOf(t, Source{Config: config, Machine: "vax"})
	mentioned := make(map[string]bool)
	for _, problem := range problems {
		mentioned[problem.Option] = true
	}
	for option := range config {
		if !mentioned[option] {
			t.Errorf("no problem with %s=%v among %s", option, config[option], problems)
		}
	}
	for _, surrounding := range []string{"JUJU_UNIT_NAME", "JUJU_MODEL_UUID", "architecture of the machine"} {
		if !mentioned[surrounding] {
			t.Errorf("no problem with %s", surrounding)
		}
	}
}

func TestMirrorWithAPathIsWarnedAbout(t *testing.T) {
	for mirror, want := range map[string]int{"https://mirror.example.com": 0, "https://mirror.example.com/": 0, "https://mirror.example.com/hub": 1} {
		if s := mustNew(t, sourceWith(map[string]any{"dockerhub-mirror": mirror})); s.DockerhubMirror != mirror || len(s.Warnings) != want {
			t.Errorf("mirror %s gives %s and warnings %q", mirror, s.DockerhubMirror, s.Warnings)
		}
	}
}

func TestEmptyIsUnset(t *testing.T) {
	config := make(map[string]any)
	for _, name := range allOptions {
		if _, isText := defaultOf(name).(string); isText && name != optionPath && name != optionToken {
			config[name] = " \n"
		}
	}
	if diff := diffStates(mustNew(t, sourceWith(nil)), mustNew(t, sourceWith(config))); diff != "" {
		t.Errorf("empty options give another state than unset ones (-unset +empty):\n%s", diff)
	}
}

var hostileValues = map[string]string{
	"double quote":  `a"b`,
	"single quote":  `a'b`,
	"command":       `$(touch /tmp/owned)`,
	"backquote":     "`reboot`",
	"line break":    "a\nb\r\nc",
	"escape":        "a\x1b[31mb",
	"null":          "a\x00b",
	"broken UTF-8":  "a\xff\xfeb",
	"direction":     "a\u202eb",
	"separator":     "a\u2028b",
	"percent":       "%s%n%d",
	"template":      "{{.Token}}",
	"10 KB":         strings.Repeat("x", 10_240),
	"10 KB of list": strings.Repeat("!,", 5_120),
}

// Whatever a string option holds, it is either refused in one printable line of
// sane length or survives being stored.
func TestHostileValues(t *testing.T) {
	for _, option := range allOptions {
		if _, isText := defaultOf(option).(string); !isText {
			continue
		}
		for name, value := range hostileValues {
			t.Run(option+" "+name, func(t *testing.T) {
				checkNew(t, sourceWith(map[string]any{option: value}))
			})
		}
	}
}

// checkNew is what holds for New whatever it is given.
func checkNew(t *testing.T, source Source) {
	t.Helper()
	s, err := New(source)
	if err == nil {
		encoded, err := Encode(s)
		if err != nil {
			t.Fatalf("New makes a state that can't be encoded: %v", err)
		}
		decoded, err := Decode(encoded)
		if err != nil {
			t.Fatalf("Encode writes what Decode refuses: %v", err)
		}
		if diff := diffStates(s, decoded); diff != "" {
			t.Errorf("the state changes by being stored:\n%s", diff)
		}
		return
	}
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("New fails with %T %v", err, err)
	}
	text := err.Error()
	if strings.IndexFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) >= 0 {
		t.Errorf("the problem is not one printable line: %q", text)
	}
	if len(text) > 1024*len(problems) {
		t.Errorf("the problem has %d bytes", len(text))
	}
}

// manyPackages are more than one image takes.
func manyPackages() string {
	var names []string
	for i := range maxImagePackages + 1 {
		names = append(names, fmt.Sprintf("package%d", i))
	}
	return strings.Join(names, ",")
}
