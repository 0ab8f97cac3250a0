package juju

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github-runner/charm/secret"
)

// The reasons for which Juju does not give a secret, where a person must act.
var (
	// ErrSecretMissing: there is no secret of that id.
	ErrSecretMissing = errors.New("no such secret")
	// ErrSecretDenied: the secret is not granted to the application.
	ErrSecretDenied = errors.New("not granted")
)

// Secret returns the newest content of a secret by its URI. Juju goes on giving
// the revision that was read first, unless it is asked to move on, which this
// does; and it tells of later revisions those who have read one. Errors that are
// neither ErrSecretMissing nor ErrSecretDenied may pass. They quote nothing of the
// content.
func (t *Tools) Secret(ctx context.Context, uri string) (map[string]secret.Text, error) {
	var content map[string]string
	if err := t.runJSON(ctx, &content, "secret-get", uri, "--refresh"); err != nil {
		return nil, secretError(err)
	}
	texts := make(map[string]secret.Text, len(content))
	for key, value := range content {
		texts[key] = secret.New(value)
	}
	return texts, nil
}

// secretError tells by Juju's words what its exit status does not tell.
func secretError(err error) error {
	var refusal *ToolError
	if !errors.As(err, &refusal) || refusal.ExitCode != 1 {
		return err
	}
	switch said := strings.ToLower(refusal.Stderr); {
	case strings.Contains(said, "permission denied") || strings.Contains(said, "not allowed"):
		return fmt.Errorf("%w: %w", ErrSecretDenied, err)
	case strings.Contains(said, "secret") && strings.Contains(said, "not found"):
		return fmt.Errorf("%w: %w", ErrSecretMissing, err)
	}
	return err
}
