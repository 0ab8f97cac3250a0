package charm

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/juju"
	"github-runner/charm/secret"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// LockWait is how long a hook waits for the unit's lock.
const LockWait = 5 * time.Minute

// Model is what the charm reads of Juju's model.
type Model interface {
	// Config returns the application's configuration as config-get gives it.
	Config(ctx context.Context) (map[string]any, error)
	// StorageIDs returns the ids of the unit's attached storage of a name,
	// StorageLocation where one is mounted.
	StorageIDs(ctx context.Context, name string) ([]string, error)
	StorageLocation(ctx context.Context, id string) (string, error)
	// Dying reports whether the unit is being removed.
	Dying(ctx context.Context, unit string) (bool, error)
	// RelationIDs returns the ids of the relations at an endpoint,
	// RelationUnits the remote units of one, and RelationUnitData what a unit
	// wrote into it: a juju.AnswerError where that can't be used.
	RelationIDs(ctx context.Context, endpoint string) ([]string, error)
	RelationUnits(ctx context.Context, id string) ([]string, error)
	RelationUnitData(ctx context.Context, id, unit string) (map[string]string, error)
	// Secret returns the newest content of a secret: juju.ErrSecretMissing and
	// juju.ErrSecretDenied where a person must act.
	Secret(ctx context.Context, uri string) (map[string]secret.Text, error)
}

// Operator is the person at the other end of Juju: what they see of the unit,
// and what they ask of an action and get from it.
type Operator interface {
	SetStatus(ctx context.Context, status juju.Status, message string) error
	SetApplicationVersion(ctx context.Context, version string) error
	ActionParams(ctx context.Context) (map[string]any, error)
	// ActionLog shows who waits for the running action how far it is.
	ActionLog(ctx context.Context, message string) error
	SetActionResults(ctx context.Context, results map[string]string) error
	FailAction(ctx context.Context, message string) error
}

// Neighbours are the applications at the other ends of relations.
type Neighbours interface {
	// SetRelationData writes into a relation what they are to read of this unit; an
	// empty text takes a key away.
	SetRelationData(ctx context.Context, id string, data map[string]secret.Text) error
}

// Charm answers Juju's calls.
type Charm struct {
	// Context is what Juju's environment says of this call.
	Context    juju.Context
	Model      Model
	Operator   Operator
	Neighbours Neighbours
	// Machine is the name of the machine's architecture.
	Machine string
	// Root is a prefix of /var and /etc, for tests.
	Root string
	// Build is the version of this binary.
	Build    string
	Assemble unit.Assemble
	// Meeting is where the unit's processes meet; nil for the kernel's locks and
	// sockets.
	Meeting unitdir.Meeting
	// Services returns the services of the unit with that folder. It is nil where
	// hooks alone are to do the work.
	Services func(*unitdir.Dir) (Services, error)
	Log      *logrus.Entry
}

// handler answers one hook or action.
type handler func(*Charm, context.Context) error

func hooks() map[string]handler {
	return map[string]handler{
		"install":                    (*Charm).install,
		"config-changed":             (*Charm).converge,
		"start":                      (*Charm).converge,
		"update-status":              (*Charm).converge,
		"upgrade-charm":              (*Charm).refreshed,
		"secret-changed":             (*Charm).converge,
		"runner-storage-attached":    (*Charm).storageAttached,
		"runner-storage-detaching":   (*Charm).storageDetaching,
		debugEndpoint + changedHook:  (*Charm).converge,
		debugEndpoint + departedHook: (*Charm).relationDeparted,
		debugEndpoint + brokenHook:   (*Charm).converge,
		// Before anything is sent: runners are to start from no other image.
		imageEndpoint + createdHook:  (*Charm).converge,
		imageEndpoint + changedHook:  (*Charm).converge,
		imageEndpoint + departedHook: (*Charm).relationDeparted,
		imageEndpoint + brokenHook:   (*Charm).converge,
		"stop":                       (*Charm).stop,
		// Whatever a stop could not end, it ends.
		"remove": (*Charm).stop,
	}
}

func actions() map[string]handler {
	return map[string]handler{
		"check-runners":       (*Charm).checkRunners,
		"reconcile-runners":   (*Charm).reconcileRunners,
		"flush-runners":       (*Charm).flushRunners,
		"drain-runners":       (*Charm).drainRunners,
		"build-image":         (*Charm).buildImage,
		"update-dependencies": (*Charm).updateDependencies,
	}
}

// Run answers the hook or action that the context names. A hook that returns an
// error is tried again by Juju; what a person must mend is no error but a
// status.
func (c *Charm) Run(ctx context.Context) error {
	handlers := map[juju.Kind]map[string]handler{juju.KindHook: hooks(), juju.KindAction: actions()}
	handle, ok := handlers[c.Context.Kind][c.Context.Name]
	if !ok {
		return fmt.Errorf("cannot answer %s %q: this charm has none of that name", c.Context.Kind, c.Context.Name)
	}
	err := handle(c, ctx)
	if err != nil && c.Context.Kind == juju.KindAction {
		c.Log.WithError(err).Error("action failed")
		return c.Operator.FailAction(context.WithoutCancel(ctx), err.Error())
	}
	return err
}
