package openstack

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// Create implements runner.Cloud by one call. Its user-data comes on a config drive:
// not every network has a metadata service.
func (c *Cloud) Create(ctx context.Context, template runner.Template, birth runner.Birth) error {
	if !c.config.Owner.Owns(birth.Name) {
		return fmt.Errorf("cannot create server %q: its name is not one of unit %s", birth.Name, c.config.Owner.Unit)
	}
	ctx, cancel := context.WithTimeout(ctx, workDeadline)
	defer cancel()
	in, err := c.session.open(ctx)
	if err != nil {
		return err
	}
	on, err := c.ground.get(ctx, func(ctx context.Context) (ground, error) { return c.lay(ctx, in) })
	if err != nil {
		return err
	}
	var token secret.Text
	if c.config.Policy.isOn() {
		if token, err = c.config.Policy.NewToken(ctx); err != nil {
			return fmt.Errorf("cannot create server %s: no token for the policy service: %w", birth.Name, err)
		}
	}
	userData, err := c.userData(template, birth, token)
	if err != nil {
		return err
	}
	drive := true
	err = servers.Create(ctx, in.compute, servers.CreateOpts{
		Name:           birth.Name,
		FlavorRef:      on.flavor,
		ImageRef:       template.Image,
		Networks:       []servers.Network{{UUID: on.network}},
		SecurityGroups: []string{on.group},
		UserData:       userData,
		ConfigDrive:    &drive,
		Metadata:       c.config.Owner.Marks(template, birth, time.Now()),
	}, nil).Err
	return c.explainCreate(birth.Name, err)
}

// explainCreate says why a server could not be made.
func (c *Cloud) explainCreate(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case maybeDone(err):
		return cannot(err, "tell whether server %s was created", name)
	}
	err = cannot(err, "create server %s", name)
	if errors.Is(err, runner.ErrInvalid) || errors.Is(err, runner.ErrNotFound) {
		// Something of it was removed, or changed: it is looked for anew.
		c.ground.forget()
		return runner.Trouble{Advice: fmt.Sprintf("see whether %s, %s and %s go together", optionFlavor, optionImage, optionNetwork), Err: err}
	}
	return err
}
