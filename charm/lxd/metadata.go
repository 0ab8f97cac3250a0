package lxd

import (
	"strconv"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// Keys of an instance's configuration that say what it is.
const (
	keyModel    = "user.github-runner.model-uuid"
	keyUnit     = "user.github-runner.unit"
	keyAPI      = "user.github-runner.api"
	keyPath     = "user.github-runner.path"
	keyRunnerID = "user.github-runner.runner-id"
	keyCreated  = "user.github-runner.created"
	keyHash     = "user.github-runner.hash"

	keyUserData = "cloud-init.user-data"
	// keyPower is LXD's own: what the instance last was, unset before its first
	// start.
	keyPower = "volatile.last_state.power"
)

// metadata is the configuration that marks a new instance as ours.
func (c *Cloud) metadata(template runner.Template, birth runner.Birth, created time.Time) map[string]string {
	return map[string]string{
		keyModel:    c.config.Owner.ModelUUID,
		keyUnit:     c.config.Owner.Unit,
		keyAPI:      birth.Scope.API,
		keyPath:     birth.Scope.Path,
		keyRunnerID: strconv.FormatInt(birth.RunnerID, 10),
		keyCreated:  created.UTC().Format(time.RFC3339Nano),
		keyHash:     template.Hash,
	}
}

// describe fills in what the metadata of an instance says. Whatever can't be
// parsed stays zero: only somebody's edit can make it so, and a runner without
// id or scope is one that GitHub is not asked about.
func describe(instance api.Instance) runner.Instance {
	id, _ := strconv.ParseInt(instance.Config[keyRunnerID], 10, 64)
	created, err := time.Parse(time.RFC3339Nano, instance.Config[keyCreated])
	if err != nil {
		created = instance.CreatedAt
	}
	return runner.Instance{
		Name:     instance.Name,
		Scope:    runner.Scope{API: instance.Config[keyAPI], Path: instance.Config[keyPath]},
		RunnerID: id,
		Created:  created,
		Hash:     instance.Config[keyHash],
	}
}

// kinship is whose an instance is.
type kinship int

const (
	stranger kinship = iota
	ours
	foreign
)

// kinship tells our instances from those that merely look like ours. Names with
// our shape whose metadata is another unit's are that unit's business.
func (c *Cloud) kinship(instance api.Instance) kinship {
	owner := c.config.Owner
	marked := instance.Config[keyModel] != "" && instance.Config[keyUnit] != ""
	mine := instance.Config[keyModel] == owner.ModelUUID && instance.Config[keyUnit] == owner.Unit
	switch {
	case owner.Owns(instance.Name) && mine:
		return ours
	case owner.Owns(instance.Name), owner.HasShape(instance.Name) && !marked:
		return foreign
	}
	return stranger
}
