package simulation

import (
	"context"
	"errors"
	"time"

	"github-runner/charm/juju"
	"github-runner/charm/secret"
	"github-runner/charm/state"
)

// tokenSecret is the URI of the secret that has the token in some lives.
const tokenSecret = "secret:d4q1rfvmp25c7a1h6k0g"

const goodToken = "ghp_SECRET5"

// keptSecret is the secret at Juju's, and what came of reading it last.
type keptSecret struct {
	token    string
	withheld error // why Juju does not give it
	read     state.Secret
}

// Secret implements charm.Model.
func (t *tools) Secret(_ context.Context, uri string) (content map[string]secret.Text, err error) {
	var withheld error
	err = t.effect("secret-get", func() {
		kept := &t.unit.secret
		kept.read = state.Secret{Access: state.SecretDenied}
		switch {
		case uri != tokenSecret:
			withheld = juju.ErrSecretMissing
		case kept.withheld != nil:
			withheld = kept.withheld
		default:
			content = map[string]secret.Text{"github-token": secret.New(kept.token)}
			kept.read = state.Secret{Access: state.SecretRead, Content: content}
		}
	})
	return content, errors.Join(err, withheld)
}

// updateSecret is juju update-secret: the charm is told.
func (l *life) updateSecret(token string) {
	l.unit.mu.Lock()
	l.unit.secret.token = token
	l.unit.mu.Unlock()
	l.queue(hook("secret-changed"))
}

// withhold lets Juju give no secret for a time. No hook tells of it.
func (l *life) withhold(why error, length time.Duration) {
	set := func(why error) {
		l.unit.mu.Lock()
		defer l.unit.mu.Unlock()
		l.unit.secret.withheld = why
	}
	set(why)
	l.trouble(length, "Juju does not give the secret", func() { set(nil) })
}

// secrets takes the token from a secret, and lets things happen to it.
func (d *dice) secrets() {
	if d.one(2) {
		d.plan.Config["token-secret-id"] = tokenSecret
	} else {
		d.plan.add(d.time(), func(l *life) { l.configure("token-secret-id", tokenSecret) }, "juju config token-secret-id=%s", tokenSecret)
	}
	for range 1 + d.IntN(3) {
		token := pick(d, "ghp_SECRET3", "ghp_SECRET4", "SECRET of two words")
		d.plan.add(d.time(), func(l *life) { l.updateSecret(token) }, "juju update-secret")
		why, length := pick(d, juju.ErrSecretDenied, errors.New("connection is shut down")), d.length()
		d.plan.add(d.time(), func(l *life) { l.withhold(why, length) }, "the secret can't be read for %v: %v", length.Round(time.Second), why)
	}
}
