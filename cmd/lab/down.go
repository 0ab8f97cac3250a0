package main

import (
	"context"
	"errors"
)

func cmdDown(ctx context.Context, env environment, args []string) error {
	return errors.ErrUnsupported
}

func cmdLeftovers(ctx context.Context, env environment, args []string) error {
	return errors.ErrUnsupported
}
