package main

import (
	"context"
	"errors"
)

func cmdUp(ctx context.Context, env environment, args []string) error {
	return errors.ErrUnsupported
}
