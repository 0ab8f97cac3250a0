package state

import (
	"github-runner/charm/clouds"
	"github-runner/charm/secret"
)

// defaultDomain is what Keystone calls the domain that it has from the start, and
// defaultDomainID its ID.
const (
	defaultDomain   = "Default"
	defaultDomainID = "default"
)

// ImageCredentials are what the application at the relation image is told, by the keys
// of the relation's interface: how to log in to the OpenStack that the runners are in,
// where it makes their image. All texts are empty where it is not told: without the
// relation, with runners on LXD, and without a password, for which alone there are keys.
func (s CharmState) ImageCredentials() map[string]secret.Text {
	var login clouds.Cloud
	if s.OnOpenStack() && s.ImageRelation.Integrated {
		login = passwordLogin(s.OpenStack.Clouds)
	}
	return map[string]secret.Text{
		"auth_url":            secret.New(login.AuthURL),
		"username":            secret.New(login.User.Name),
		"user_domain_name":    secret.New(login.User.Domain.Name),
		"password":            login.Password,
		"project_name":        secret.New(login.Project.Name),
		"project_domain_name": secret.New(login.Project.Domain.Name),
	}
}

// passwordLogin is the login of a clouds.yaml, with the names of all that it is for; the
// zero value where it has no password, or an ID in the place of a name.
func passwordLogin(document secret.Text) clouds.Cloud {
	login, err := clouds.Parse(document)
	if err != nil {
		return clouds.Cloud{}
	}
	for _, domain := range []*clouds.Domain{&login.User.Domain, &login.Project.Domain} {
		if domain.ID == defaultDomainID {
			*domain = clouds.Domain{Name: defaultDomain}
		}
	}
	for _, needed := range []string{login.User.Name, login.User.Domain.Name, login.Password.Reveal(), login.Project.Name, login.Project.Domain.Name} {
		if needed == "" {
			return clouds.Cloud{}
		}
	}
	return login
}

// warnOfCredentials says why no image may come: what makes them can't log in.
func (r *reader) warnOfCredentials(s CharmState) {
	relation := s.ImageRelation
	if s.OnOpenStack() && relation.Integrated && relation.ID == "" && s.ImageCredentials()["password"].IsZero() {
		r.warnings = append(r.warnings, "image: the relation has room for a password alone, and the names of user, project and domains: where the image's sender needs them, give such a clouds.yaml")
	}
}
