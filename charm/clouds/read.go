package clouds

import (
	"cmp"
	"crypto/x509"
	"net/url"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github-runner/charm/secret"
)

// read turns the settings of a cloud into values.
func read(node *yaml.Node) (Cloud, error) {
	settings := section{values: map[string]*yaml.Node{}}
	settings.merge(node)
	auth := section{in: "auth."}
	switch section := settings.values["auth"]; {
	case section == nil || isNull(section):
		return Cloud{}, Fault{"has a first cloud without auth", rightCloud}
	case section.Kind != yaml.MappingNode:
		return Cloud{}, Fault{"has an auth that is not a mapping", rightCloud}
	default:
		auth.values = map[string]*yaml.Node{}
		auth.merge(section)
	}
	cloud := Cloud{
		AuthURL:  auth.text("auth_url"),
		Region:   settings.text("region_name"),
		Insecure: !settings.truth("verify", true),
		User:     Identity{ID: auth.text("user_id"), Name: auth.text("username")},
		Password: secret.New(auth.text("password")),
		Project:  Identity{ID: auth.text("project_id", "tenant_id"), Name: auth.text("project_name", "tenant_name")},
		Credential: Credential{
			ID:     auth.text("application_credential_id"),
			Name:   auth.text("application_credential_name"),
			Secret: secret.New(auth.text("application_credential_secret")),
		},
	}
	cloud.User.Domain = auth.domain("user_")
	cloud.Project.Domain = auth.domain("project_")
	kind, version := settings.text("auth_type"), settings.text("identity_api_version")
	reach, certificate := settings.text("endpoint_type", "interface"), settings.text("cacert")
	// What has the wrong type comes first: the rest reads it as if it were missing.
	for _, one := range []section{auth, settings} {
		if one.fault != nil {
			return Cloud{}, *one.fault
		}
	}
	for _, check := range []func() *Fault{
		func() *Fault { return checkURL(cloud.AuthURL) },
		func() *Fault { return checkVersion(version) },
		func() *Fault { return cloud.setInterface(reach) },
		func() *Fault { return cloud.setCertificate(certificate) },
		func() *Fault { return cloud.choose(kind) },
	} {
		if fault := check(); fault != nil {
			return Cloud{}, *fault
		}
	}
	return cloud, nil
}

// section is a mapping of settings, and what is wrong with the first that is.
type section struct {
	// in is put before the names of settings where they are told of.
	in     string
	values map[string]*yaml.Node
	fault  *Fault
}

// merge takes the settings of a mapping over; its own are stronger than those that
// it merges from others.
func (s *section) merge(mapping *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], resolved(mapping.Content[i+1])
		if key.ShortTag() != "!!merge" {
			s.values[key.Value] = value
		}
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].ShortTag() == "!!merge" {
			s.inherit(resolved(mapping.Content[i+1]))
		}
	}
}

// inherit takes over what is not set yet, from a mapping or from several.
func (s *section) inherit(from *yaml.Node) {
	sources := []*yaml.Node{from}
	if from.Kind == yaml.SequenceNode {
		sources = from.Content
	}
	for _, source := range sources {
		other := section{values: map[string]*yaml.Node{}}
		other.merge(resolved(source))
		for key, value := range other.values {
			if s.values[key] == nil {
				s.values[key] = value
			}
		}
	}
}

// text is the first of some settings that is set. Numbers are read as they are
// written: a password may look like one.
func (s *section) text(names ...string) string {
	for _, name := range names {
		value := s.values[name]
		if value == nil || isNull(value) {
			continue
		}
		if value.Kind != yaml.ScalarNode {
			s.reject(name, "is not a text", "give it as one text")
			return ""
		}
		if value.Value != "" {
			return value.Value
		}
	}
	return ""
}

// truth is a setting that is true or false.
func (s *section) truth(name string, unset bool) bool {
	value := s.values[name]
	if value == nil || isNull(value) {
		return unset
	}
	var answer bool
	if err := value.Decode(&answer); err != nil {
		s.reject(name, "is neither true nor false", "give true or false")
		return unset
	}
	return answer
}

func (s *section) reject(name, what, right string) {
	if s.fault == nil {
		s.fault = &Fault{"has a first cloud whose " + s.in + name + " " + what, right}
	}
}

// domain is that of a user or project. The name of one is enough for a person, and
// Keystone has one from the start, whose ID is "default".
func (s *section) domain(whose string) Domain {
	for _, one := range []Domain{
		{ID: s.text(whose + "domain_id")}, {Name: s.text(whose + "domain_name")},
		{ID: s.text("domain_id")}, {Name: s.text("domain_name")},
	} {
		if one != (Domain{}) {
			return one
		}
	}
	return Domain{ID: cmp.Or(s.text("default_domain"), "default")}
}

func checkURL(text string) *Fault {
	const right = "give the http or https URL of Keystone, such as https://keystone.example.com:5000/v3"
	if text == "" {
		return &Fault{"has a first cloud without auth.auth_url", right}
	}
	parsed, err := url.Parse(text)
	switch {
	case err != nil, parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Hostname() == "":
		return &Fault{"has an auth.auth_url that is no URL", right}
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return &Fault{"has an auth.auth_url with more than an address and a path", right}
	case strings.HasSuffix(strings.TrimSuffix(parsed.Path, "/"), "/v2.0"):
		return &Fault{"has an auth.auth_url for version 2 of Keystone", "give that of version 3"}
	}
	return nil
}

func checkVersion(text string) *Fault {
	if text == "" || strings.HasPrefix(text, "3") {
		return nil
	}
	return &Fault{"has an identity_api_version that is not 3", "give 3, or leave it out"}
}

func (c *Cloud) setInterface(text string) *Fault {
	c.Interface = Interface(strings.TrimSuffix(cmp.Or(text, string(Public)), "URL"))
	switch c.Interface {
	case Public, Internal, Admin:
		return nil
	}
	return &Fault{"has an interface that is not known", "give public, internal or admin"}
}

// setCertificate takes certificates or the path of a file with them.
func (c *Cloud) setCertificate(text string) *Fault {
	switch {
	case strings.Contains(text, "-----BEGIN"):
		if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
			return &Fault{"has a cacert without a certificate that can be read", "give it in PEM"}
		}
		c.CACert = text
	case text == "", filepath.IsAbs(text):
		c.CACertFile = text
	default:
		return &Fault{"has a cacert that is neither a certificate nor an absolute path", "give the certificate itself in PEM, or the path of a file on the unit"}
	}
	return nil
}

// The ways to log in, by the names that a clouds.yaml has for them.
const (
	byAny        = ""
	byPassword   = "password"
	byPassword3  = "v3password"
	byCredential = "v3applicationcredential"
)

// choose checks that all is there for the way to log in, and drops what belongs to
// another one.
func (c *Cloud) choose(kind string) *Fault {
	switch kind {
	case byAny, byPassword, byPassword3, byCredential:
	default:
		return &Fault{"has an auth_type that is not supported", "give password, v3password or v3applicationcredential"}
	}
	if kind == byCredential || kind == byAny && !c.Credential.IsZero() {
		return c.chooseCredential()
	}
	return c.choosePassword()
}

func (c *Cloud) chooseCredential() *Fault {
	c.Password, c.Project = secret.Text{}, Identity{}
	switch {
	case c.Credential.Secret.IsZero():
		return &Fault{"has a first cloud without auth.application_credential_secret", "give the secret of the application credential"}
	case c.Credential.ID != "":
		c.User, c.Credential.Name = Identity{}, ""
	case c.Credential.Name == "":
		return &Fault{"has a first cloud without auth.application_credential_id", "give the ID of the application credential that the secret is for"}
	case c.User.ID == "" && c.User.Name == "":
		return &Fault{"has an application credential by its name, and no user", "give application_credential_id in the place of application_credential_name"}
	}
	c.User.settle()
	return nil
}

func (c *Cloud) choosePassword() *Fault {
	c.Credential = Credential{}
	switch {
	case c.User.ID == "" && c.User.Name == "":
		return &Fault{"has a first cloud without a user", "give auth.username and auth.password, or auth.application_credential_id and auth.application_credential_secret"}
	case c.Password.IsZero():
		return &Fault{"has a first cloud without auth.password", "give the password of the user"}
	case c.Project.ID == "" && c.Project.Name == "":
		return &Fault{"has a first cloud without a project", "give auth.project_name or auth.project_id"}
	}
	c.User.settle()
	c.Project.settle()
	return nil
}

// settle drops what an ID makes needless: Keystone takes one or the other.
func (i *Identity) settle() {
	if i.ID != "" {
		*i = Identity{ID: i.ID}
	}
}
