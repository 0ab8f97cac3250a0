package juju

import (
	"crypto/rand"
	"fmt"
	"strings"
)

// userSecret is a secret of the operator's, with all of its revisions.
type userSecret struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Revisions[0] is revision 1.
	Revisions []map[string]string `json:"revisions"`
	// Granted are the applications that may read it.
	Granted []string `json:"granted"`
}

func newSecretID() string {
	return strings.ToLower(rand.Text()[:20])
}

func (u *userSecret) latest() int {
	return len(u.Revisions)
}

// secretByURI finds a secret by "secret:ID", "secret://MODEL/ID" or "ID".
func (m *model) secretByURI(uri string) *userSecret {
	id := strings.TrimPrefix(strings.TrimPrefix(uri, "secret:"), "//"+m.UUID+"/")
	return m.Secrets[id]
}

// secretByName finds a secret by its name or URI.
func (m *model) secretByName(name string) (*userSecret, error) {
	if found := m.secretByURI(name); found != nil {
		return found, nil
	}
	for _, s := range m.Secrets {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("secret %q not found", name)
}

// parseSecret reads "key=value" and "key#file=path" arguments.
func parseSecret(args []string, readFile func(string) (string, error)) (map[string]string, error) {
	content := map[string]string{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("key value %q not valid", arg)
		}
		if name, isFile := strings.CutSuffix(key, "#file"); isFile {
			var err error
			key = name
			if value, err = readFile(value); err != nil {
				return nil, err
			}
		}
		if len(key) < 3 {
			return nil, fmt.Errorf("key %q not valid", key)
		}
		content[key] = value
	}
	if len(content) == 0 {
		return nil, fmt.Errorf("empty secret data not valid")
	}
	return content, nil
}
