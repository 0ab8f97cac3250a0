package lxd

import (
	"errors"
	"fmt"

	"github-runner/charm/runner"
)

// cannot says what could not be done with the daemon, and keeps what kind of
// failure it was. It returns nil for nil.
func cannot(err error, what string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s: %w", fmt.Sprintf(what, args...), classify(err))
}

// ignoreMissing turns "not found" into success: what is to be removed is gone.
func ignoreMissing(err error) error {
	if errors.Is(classify(err), runner.ErrNotFound) {
		return nil
	}
	return err
}
