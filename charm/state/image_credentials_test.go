package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImageCredentials(t *testing.T) {
	const full = "clouds:\n  a:\n    auth: {auth_url: 'https://k/v3', username: ann, password: hunter2, project_name: ci, user_domain_name: people, project_domain_name: work}\n  b: {}\n"
	const short = "clouds: {a: {auth: {auth_url: 'https://k/v3', username: ann, password: hunter2, project_name: ci}}}"
	const byID = "clouds: {a: {auth: {auth_url: 'https://k/v3', username: ann, password: hunter2, project_id: 0af}}}"
	const application = "clouds: {a: {auth: {auth_url: 'https://k/v3', application_credential_id: 7f, application_credential_secret: hunter2}}}"
	type texts = map[string]string
	all := func(userDomain, projectDomain string) texts {
		return texts{"auth_url": "https://k/v3", "username": "ann", "user_domain_name": userDomain, "password": "hunter2", "project_name": "ci", "project_domain_name": projectDomain}
	}
	image := map[string]map[string]string{"builder/0": {"id": "f00"}}
	for name, test := range map[string]struct {
		clouds string
		image  map[string]map[string]string
		want   texts
		warned bool
	}{
		"a password":             {full, image, all("people", "work"), false},
		"before there is one":    {full, map[string]map[string]string{}, all("people", "work"), false},
		"in the default domain":  {short, image, all("Default", "Default"), false},
		"without the relation":   {full, nil, texts{}, false},
		"on LXD":                 {"", image, texts{}, false},
		"a project by ID":        {byID, map[string]map[string]string{}, texts{}, true},
		"an application's":       {application, map[string]map[string]string{"builder/0": {}}, texts{}, true},
		"one that is not needed": {application, image, texts{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			source := sourceWith(map[string]any{})
			if test.clouds != "" {
				source = sourceWith(map[string]any{"openstack-clouds-yaml": test.clouds, "openstack-flavor": "small", "openstack-network": "net"})
			}
			source.Image = test.image
			s := mustNew(t, source)
			got := texts{}
			for key, text := range s.ImageCredentials() {
				if !text.IsZero() {
					got[key] = text.Reveal()
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if len(s.ImageCredentials()) != 6 {
				t.Error("a key is missing, so that it could not be taken back")
			}
			if warned := len(s.Warnings) > 0; warned != test.warned {
				t.Errorf("warnings: %q", s.Warnings)
			}
		})
	}
}
