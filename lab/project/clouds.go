package project

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

// Account is a user of a project, in the domain Default.
type Account struct {
	// URL is the identity service's, Region where the project's services are.
	URL, Region             string
	Project, User, Password string
}

// clouds is a clouds.yaml.
type clouds struct {
	Clouds map[string]cloud `yaml:"clouds"`
}

type cloud struct {
	Auth   auth   `yaml:"auth"`
	Region string `yaml:"region_name"`
}

type auth struct {
	URL           string `yaml:"auth_url"`
	Username      string `yaml:"username"`
	Password      string `yaml:"password"`
	Project       string `yaml:"project_name"`
	UserDomain    string `yaml:"user_domain_name"`
	ProjectDomain string `yaml:"project_domain_name"`
}

// CloudsYAML is a clouds.yaml of one cloud, which has the project's name.
func (a Account) CloudsYAML() ([]byte, error) {
	return yaml.Marshal(clouds{map[string]cloud{a.Project: {
		Auth: auth{
			URL: a.URL, Username: a.User, Password: a.Password, Project: a.Project,
			UserDomain: "Default", ProjectDomain: "Default",
		},
		Region: a.Region,
	}}})
}

// AccountIn is the account of the first cloud of a clouds.yaml that CloudsYAML made.
func AccountIn(cloudsYAML []byte) (Account, error) {
	name, err := firstCloud(cloudsYAML)
	if err != nil {
		return Account{}, err
	}
	var all clouds
	if err := yaml.Unmarshal(cloudsYAML, &all); err != nil {
		return Account{}, errors.New("cannot read clouds.yaml: it is not as the lab writes it") // its text holds secrets
	}
	one := all.Clouds[name]
	return Account{
		URL: one.Auth.URL, Region: one.Region, Project: one.Auth.Project, User: one.Auth.Username, Password: one.Auth.Password,
	}, nil
}
