package lxd

import (
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// markPrefix is before the keys of what an instance is marked with in LXD.
const markPrefix = "user."

// Keys of an instance's configuration that say what it is.
const (
	keyModel = markPrefix + runner.MarkModel
	keyUnit  = markPrefix + runner.MarkUnit

	keyUserData = "cloud-init.user-data"
	// keyPower is LXD's own: what the instance last was, unset before its first
	// start.
	keyPower = "volatile.last_state.power"
)

// metadata is the configuration that marks a new instance as ours.
func (c *Cloud) metadata(template runner.Template, birth runner.Birth, created time.Time) map[string]string {
	marks := map[string]string{}
	for key, value := range c.config.Owner.Marks(template, birth, created) {
		marks[markPrefix+key] = value
	}
	return marks
}

// markOf finds the marks of an instance.
func markOf(instance api.Instance) func(key string) string {
	return func(key string) string { return instance.Config[markPrefix+key] }
}

// describe fills in what the metadata of an instance says.
func describe(instance api.Instance) runner.Instance {
	return runner.Marked(instance.Name, markOf(instance), instance.CreatedAt)
}

// kinship tells our instances from those that merely look like ours.
func (c *Cloud) kinship(instance api.Instance) runner.Kinship {
	return c.config.Owner.Kinship(instance.Name, markOf(instance))
}
