package state

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github-runner/charm/secret"
)

// onOpenStack are options that choose OpenStack, and others besides.
func onOpenStack(others map[string]any) map[string]any {
	options := map[string]any{
		"openstack-clouds-yaml": "clouds:\n  main: {auth: {auth_url: 'https://keystone.example.com', username: u, password: hunter2, project_name: p}}\n",
		"openstack-flavor":      "m1.small",
		"openstack-network":     "runners",
	}
	maps.Copy(options, others)
	return options
}

func TestOpenStackOptions(t *testing.T) {
	s := mustNew(t, sourceWith(onOpenStack(map[string]any{
		"openstack-image":              " ubuntu-noble ",
		"manager-ssh-proxy-command":    "nc gate.example.com %p",
		"manager-address":              "192.0.2.7, 2001:db8::/32",
		"repo-policy-compliance-url":   "https://policy.example.com/api/",
		"repo-policy-compliance-token": "hunter3",
		"vm-cpu":                       0, // of no interest on OpenStack
		"denylist":                     "10.0.0.0/8",
	})))
	got := s.OpenStack
	want := OpenStack{
		Clouds: got.Clouds, PolicyToken: secret.New("hunter3"), Flavor: "m1.small", Network: "runners", Image: "ubuntu-noble",
		ProxyCommand: "nc gate.example.com %p", PolicyURL: "https://policy.example.com/api",
		ManagerAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")},
	}
	if s.ImageLife != 7*24*time.Hour || !s.MakesImages() {
		t.Errorf("an image lives for %v", s.ImageLife)
	}
	if !reflect.DeepEqual(got, want) || !strings.Contains(got.Clouds.Reveal(), "hunter2") || !s.OnOpenStack() {
		t.Errorf("New: %+v, want %+v", got, want)
	}
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "denylist has no effect on OpenStack") {
		t.Errorf("warnings: %q", s.Warnings)
	}
	if plain := mustNew(t, sourceWith(onOpenStack(nil))); plain.OpenStack.Image != "jammy" {
		t.Errorf("the image is %q where only base-image names one", plain.OpenStack.Image)
	}
}

// A file that was empty by mistake is no silent way to LXD.
func TestOpenStackOptionsWithoutACloud(t *testing.T) {
	for _, blank := range []string{" ", "\n", "\t\n"} {
		problems := problemsOf(t, sourceWith(onOpenStack(map[string]any{"openstack-clouds-yaml": blank})))
		if len(problems) != 1 || !strings.Contains(problems.Error(), "openstack-clouds-yaml is empty: ") {
			t.Errorf("a clouds.yaml of %q: %v", blank, problems)
		}
	}
	s := mustNew(t, sourceWith(onOpenStack(map[string]any{"openstack-clouds-yaml": ""})))
	if want := []string{"openstack-flavor, openstack-network set without openstack-clouds-yaml: the runners are on LXD"}; s.OnOpenStack() || !slices.Equal(s.Warnings, want) {
		t.Errorf("without a clouds.yaml: on OpenStack %v, warnings %q", s.OnOpenStack(), s.Warnings)
	}
}

func TestBadOpenStackOptions(t *testing.T) {
	problems := problemsOf(t, sourceWith(onOpenStack(map[string]any{
		"openstack-flavor":                        "a\nb",
		"openstack-network":                       "",
		"openstack-image":                         "a\x00b",
		"manager-ssh-proxy-command":               "hunter4\nb",
		"manager-address":                         "192.0.2.1/24",
		"experimental-openstack-image-build-unit": -2,
		"repo-policy-compliance-url":              "policy.example.com",
	})))
	var options []string
	for _, problem := range problems {
		options = append(options, problem.Option)
	}
	want := []string{
		"openstack-flavor", "openstack-network", "openstack-image", "manager-ssh-proxy-command", "manager-address",
		"repo-policy-compliance-token", "repo-policy-compliance-url", "experimental-openstack-image-build-unit",
	}
	if !slices.Equal(options, want) {
		t.Errorf("New complains about %q, want %q", options, want)
	}
	if strings.Contains(problems.Error(), "hunter") {
		t.Errorf("a secret is shown: %s", problems)
	}
}

func TestBadProxyCommands(t *testing.T) {
	for _, command := range []string{"hunter2 %x", "hunter2 %", "hunter2\n%h", strings.Repeat("x", 5000)} {
		problems := problemsOf(t, sourceWith(onOpenStack(map[string]any{"manager-ssh-proxy-command": command})))
		if text := problems.Error(); !strings.HasPrefix(text, "manager-ssh-proxy-command is not valid") || strings.Contains(text, "hunter2") {
			t.Errorf("%.20q: %s", command, text)
		}
	}
}

// The secret wins over the option, also where it is of no use.
func TestCloudsYAMLOfASecret(t *testing.T) {
	const id = "secret:abcdefghij0123456789"
	tests := map[string]struct {
		content map[string]secret.Text
		want    string
	}{
		"right":   {map[string]secret.Text{"clouds-yaml": secret.New("clouds: {hidden: {auth: {auth_url: 'https://hidden.example.com', username: u, password: p, project_name: p}}}")}, ""},
		"lacking": {map[string]secret.Text{"clouds": secret.New("hunter2")}, "openstack-clouds-yaml-secret-id " + id + " lacks the field clouds-yaml"},
		"bad":     {map[string]secret.Text{"clouds-yaml": secret.New("hunter2: [")}, "openstack-clouds-yaml-secret-id " + id + " has a clouds-yaml that is not valid YAML"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source := sourceWith(onOpenStack(map[string]any{"openstack-clouds-yaml-secret-id": id}))
			source.Secrets = map[string]Secret{id: {Access: SecretRead, Content: test.content}}
			if ids := SecretIDs(source.Config); !slices.Equal(ids, []string{id}) {
				t.Errorf("the secrets to read are %q", ids)
			}
			if test.want == "" {
				if got := mustNew(t, source).OpenStack.Clouds.Reveal(); !strings.Contains(got, "hidden") {
					t.Error("the option wins")
				}
				return
			}
			if text := problemsOf(t, source).Error(); !strings.HasPrefix(text, test.want) || strings.Contains(text, "hunter") {
				t.Errorf("New: %s\nwant %s", text, test.want)
			}
		})
	}
}

func TestPolicyOptionsComeTogetherOnOpenStack(t *testing.T) {
	tests := []struct{ url, token, want string }{
		{"", "", ""},
		{"https://policy.example.com/api", "t0ken", ""},
		{"https://policy.example.com", "", "repo-policy-compliance-token is missing"},
		{"", "t0ken", "repo-policy-compliance-url is missing"},
		{"policy.example.com", "t0ken", `repo-policy-compliance-url "policy.example.com" is not valid: give an http or https URL`},
		{"http://user:hunter2@", "t0ken", `repo-policy-compliance-url is not valid: give an http or https URL`},
		{"https://policy.example.com/?a=b", "t0ken", `repo-policy-compliance-url "https://policy.example.com/?a=b" is not valid`},
		{"https://policy.example.com", "hunter2 x", "repo-policy-compliance-token is not valid"},
	}
	for _, test := range tests {
		source := sourceWith(onOpenStack(map[string]any{
			"repo-policy-compliance-url":   test.url,
			"repo-policy-compliance-token": test.token,
		}))
		if test.want == "" {
			mustNew(t, source)
			continue
		}
		text := problemsOf(t, source).Error()
		if !strings.Contains(text, test.want) || strings.Contains(text, "hunter2") {
			t.Errorf("url %q with token %q: %s\nwant %s", test.url, test.token, text, test.want)
		}
	}
}
