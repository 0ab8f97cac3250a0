// Package juju speaks with the Juju agent that started the process: it reads the
// environment of a hook or action, and runs Juju's hook tools.
package juju

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github-runner/charm/secret"
)

// Kind says what Juju wants of the process.
type Kind string

// The kinds of a process that Juju starts.
const (
	// KindHook: an event of the unit's life.
	KindHook Kind = "hook"
	// KindAction: an operator's 'juju run'.
	KindAction Kind = "action"
	// KindExec: an operator's 'juju exec' under a name that is neither a hook's
	// nor an action's. 'juju exec -- hooks/update-status' is KindHook.
	KindExec Kind = "exec"
)

// Context is what Juju tells a process by its environment.
type Context struct {
	Kind Kind
	// Name is the hook's or action's, such as "config-changed"; empty for
	// KindExec.
	Name string

	// Unit is "github-runner/0", App "github-runner".
	Unit      string
	App       string
	ModelUUID string
	ModelName string
	// CharmDir is where the charm was unpacked.
	CharmDir string
	// Version is the Juju agent's, such as "3.6.28".
	Version string
	Proxies Proxies

	// ActionUUID is set in actions only. It is a task's number, not a UUID.
	ActionUUID string
	// Relation is set in relation hooks only.
	Relation Relation
	// Storage is set in storage hooks only.
	Storage Storage
}

// Proxies are the model's juju-http-proxy, juju-https-proxy and juju-no-proxy,
// as the operator wrote them. URLs may hold a password.
type Proxies struct {
	HTTP    secret.Text
	HTTPS   secret.Text
	NoProxy string
}

// Relation is what a relation hook is about.
type Relation struct {
	// Endpoint is the charm's name of the relation, ID such as "debug-ssh:3".
	Endpoint string
	ID       string
	// RemoteUnit is empty where the other application's data changed, and when
	// the relation was created or broken.
	RemoteUnit string
	RemoteApp  string
	// DepartingUnit is set in relation-departed only.
	DepartingUnit string
}

// Storage is what a storage hook is about.
type Storage struct {
	// ID is such as "runner/0", Name "runner".
	ID       string
	Name     string
	Location string
	// Kind is "filesystem" or "block".
	Kind string
}

// FromEnvironment reads the environment that Juju gives a hook or action.
// lookup is os.Getenv, argv0 the name that the process was started under.
//
// What is to be done is told by JUJU_DISPATCH_PATH, by JUJU_HOOK_NAME, or, where
// 'juju exec' sets neither, by the folder and name of argv0. A process that was
// not started by Juju gets an error.
func FromEnvironment(lookup func(string) string, argv0 string) (Context, error) {
	c := Context{
		Unit:      lookup("JUJU_UNIT_NAME"),
		ModelUUID: lookup("JUJU_MODEL_UUID"),
		ModelName: lookup("JUJU_MODEL_NAME"),
		CharmDir:  lookup("JUJU_CHARM_DIR"),
		Version:   lookup("JUJU_VERSION"),
		Proxies: Proxies{
			HTTP:    secret.New(lookup("JUJU_CHARM_HTTP_PROXY")),
			HTTPS:   secret.New(lookup("JUJU_CHARM_HTTPS_PROXY")),
			NoProxy: lookup("JUJU_CHARM_NO_PROXY"),
		},
		ActionUUID: lookup("JUJU_ACTION_UUID"),
		Relation: Relation{
			Endpoint:      lookup("JUJU_RELATION"),
			ID:            lookup("JUJU_RELATION_ID"),
			RemoteUnit:    lookup("JUJU_REMOTE_UNIT"),
			RemoteApp:     lookup("JUJU_REMOTE_APP"),
			DepartingUnit: lookup("JUJU_DEPARTING_UNIT"),
		},
		Storage: Storage{
			ID:       lookup("JUJU_STORAGE_ID"),
			Location: lookup("JUJU_STORAGE_LOCATION"),
			Kind:     lookup("JUJU_STORAGE_KIND"),
		},
	}
	if c.Unit == "" {
		return Context{}, errors.New("cannot tell the unit: JUJU_UNIT_NAME is not set; only Juju starts this program")
	}
	app, number, ok := strings.Cut(c.Unit, "/")
	if !ok || app == "" || number == "" || strings.Trim(number, "0123456789") != "" {
		return Context{}, fmt.Errorf("cannot tell the unit: JUJU_UNIT_NAME is %q, not <application>/<number>", c.Unit)
	}
	if c.ModelUUID == "" {
		return Context{}, errors.New("cannot tell the model: JUJU_MODEL_UUID is not set")
	}
	c.App = app
	c.Storage.Name, _, _ = strings.Cut(c.Storage.ID, "/")
	c.Kind, c.Name = purpose(lookup("JUJU_DISPATCH_PATH"), lookup("JUJU_HOOK_NAME"), argv0)
	return c, nil
}

// purpose tells the kind and name from whatever says so first.
func purpose(dispatchPath, hookName, argv0 string) (Kind, string) {
	if kind, name, ok := purposeOfPath(dispatchPath); ok {
		return kind, name
	}
	if hookName != "" {
		return KindHook, hookName
	}
	if kind, name, ok := purposeOfPath(argv0); ok {
		return kind, name
	}
	return KindExec, ""
}

func purposeOfPath(path string) (Kind, string, bool) {
	name := filepath.Base(path)
	switch filepath.Base(filepath.Dir(path)) {
	case "hooks":
		return KindHook, name, true
	case "actions":
		return KindAction, name, true
	default:
		return "", "", false
	}
}
