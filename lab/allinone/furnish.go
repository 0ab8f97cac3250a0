package allinone

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"

	emulation "github-runner/lab/openstack"
	"github-runner/lab/project"
)

// furnisher makes what there is at first: the same as in the emulation.
type furnisher struct {
	*Stack
	identity, compute, network, image *gophercloud.ServiceClient
}

func (s *Stack) furnish(ctx context.Context) error {
	f, err := s.furnisher(ctx)
	if err != nil {
		return err
	}
	world := emulation.FirstWorld()
	if err := together(ctx,
		func(ctx context.Context) error { return f.makeProjects(ctx, world.Projects) },
		func(ctx context.Context) error { return f.makeFlavors(ctx, world.Flavors) },
		func(ctx context.Context) error { return f.makeNetwork(ctx, world.Networks[0].Name) },
		func(ctx context.Context) error { return f.makeImages(ctx, world.Images) },
		func(ctx context.Context) error { return s.await(ctx, "Nova's host", f.hostIsThere) },
	); err != nil {
		return err
	}
	user := world.Projects[0].Users[0]
	return errors.Join(
		s.writeClouds(s.AdminFile, adminName, adminName, s.password),
		s.writeClouds(s.CloudsFile, world.Projects[0].Name, user.Name, user.Password),
	)
}

func (s *Stack) furnisher(ctx context.Context) (*furnisher, error) {
	provider, err := s.admin(ctx)
	if err != nil {
		return nil, err
	}
	f := &furnisher{Stack: s}
	for _, one := range []struct {
		client **gophercloud.ServiceClient
		open   func(*gophercloud.ProviderClient, gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error)
	}{
		{&f.identity, openstack.NewIdentityV3}, {&f.compute, openstack.NewComputeV2},
		{&f.network, openstack.NewNetworkV2}, {&f.image, openstack.NewImageV2},
	} {
		if *one.client, err = one.open(provider, where); err != nil {
			return nil, fmt.Errorf("cannot find a service: %w", err)
		}
	}
	return f, nil
}

// hostIsThere reports whether servers can be put on the host.
func (f *furnisher) hostIsThere(ctx context.Context) error {
	pages, err := hypervisors.List(f.compute, nil).AllPages(ctx)
	if err != nil {
		return err
	}
	found, err := hypervisors.ExtractHypervisors(pages)
	if err == nil && len(found) == 0 {
		err = errors.New("no hypervisor is listed yet")
	}
	return err
}

func (f *furnisher) makeProjects(ctx context.Context, all []emulation.Project) error {
	admin := project.Admin{Identity: f.identity, Compute: f.compute, Network: f.network}
	for _, one := range all {
		if _, err := admin.Add(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

func (f *furnisher) makeFlavors(ctx context.Context, all []emulation.Flavor) error {
	for _, one := range all {
		if err := flavors.Create(ctx, f.compute, flavors.CreateOpts{
			ID: one.ID, Name: one.Name, VCPUs: one.VCPUs, RAM: one.RAM, Disk: &one.Disk,
		}).Err; err != nil {
			return fmt.Errorf("cannot make the flavor %s: %w", one.Name, err)
		}
	}
	return nil
}

// writeClouds writes a clouds.yaml that its owner alone can read, all at once.
func (s *Stack) writeClouds(path, name, user, password string) error {
	text, err := project.Account{
		URL: s.at(identityPort, "/v3"), Region: region, Project: name, User: user, Password: password,
	}.CloudsYAML()
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}
