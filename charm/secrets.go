package charm

import (
	"context"
	"errors"

	"github-runner/charm/juju"
	"github-runner/charm/state"
)

// readSecrets reads the secrets that the configuration names. One that can't be
// read is no error here: its option is not to be used then, and says why.
func (s *session) readSecrets(ctx context.Context, config map[string]any) (map[string]state.Secret, error) {
	secrets := map[string]state.Secret{}
	for _, id := range state.SecretIDs(config) {
		content, err := s.Model.Secret(ctx, id)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		secrets[id] = state.Secret{Access: access(err), Content: content, Err: err}
	}
	return secrets, nil
}

// access is how reading a secret went.
func access(err error) state.Access {
	switch {
	case err == nil:
		return state.SecretRead
	case errors.Is(err, juju.ErrSecretMissing):
		return state.SecretMissing
	case errors.Is(err, juju.ErrSecretDenied):
		return state.SecretDenied
	}
	return state.SecretUnanswered
}
