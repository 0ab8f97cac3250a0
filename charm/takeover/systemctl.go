package takeover

import (
	"context"

	"github-runner/charm/systemd"
)

// systemctl runs systemctl where systemd runs. On a machine without it no service
// can be there, only its file.
func (t *Takeover) systemctl(ctx context.Context, args ...string) error {
	if !systemd.Runs(t.cfg.Root) {
		return nil
	}
	return systemd.Control(ctx, args...)
}
