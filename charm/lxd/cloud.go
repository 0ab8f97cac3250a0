package lxd

import (
	"context"

	"github-runner/charm/runner"
)

var _ runner.Cloud = (*Cloud)(nil)

// Prepare implements runner.Cloud.
func (c *Cloud) Prepare(ctx context.Context, want runner.Want) (runner.Template, error) {
	return runner.Template{}, nil
}
func (c *Cloud) List(ctx context.Context) ([]runner.Instance, error) { return nil, nil }
func (c *Cloud) Create(ctx context.Context, template runner.Template, birth runner.Birth) error {
	return nil
}
func (c *Cloud) PreJobDone(ctx context.Context, name string) error { return nil }
func (c *Cloud) Collect(ctx context.Context, name, dir string) (runner.Remains, error) {
	return runner.Remains{}, nil
}
func (c *Cloud) Delete(ctx context.Context, name string) error             { return nil }
func (c *Cloud) Watch(ctx context.Context) (<-chan struct{}, error)        { return nil, nil }
func (c *Cloud) Destroy(ctx context.Context) error                         { return nil }
func (c *Cloud) Install(ctx context.Context, progress func(string)) error { return nil }
func (c *Cloud) Ready(ctx context.Context) error                           { return nil }
