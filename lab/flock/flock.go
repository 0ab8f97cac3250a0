// Package flock locks directories and files between the lab's processes.
package flock

import (
	"context"
	"errors"

	"github-runner/charm/unitdir"
)

// Take locks path, a directory or a file that is there, as units are locked: see
// unitdir.LockPath.
//
// Who held the lock may have removed the path: then the error is
// os.ErrNotExist, or what is there now under that name is locked.
func Take(ctx context.Context, path string, waiting func()) (release func(), err error) {
	for {
		release, err := unitdir.LockPath(ctx, path, waiting)
		if !errors.Is(err, unitdir.ErrRemoved) {
			return release, err
		}
	}
}
