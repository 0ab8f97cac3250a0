package project

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"

	emulation "github-runner/lab/openstack"
)

// domain is where all projects and users are: the one that every Keystone has.
const domain = "default"

// Admin is a session of a cloud's administrator.
type Admin struct {
	Identity, Compute, Network *gophercloud.ServiceClient
}

// OpenAdmin authenticates by the first cloud of an administrator's clouds.yaml.
func OpenAdmin(ctx context.Context, cloudsYAML []byte) (*Admin, error) {
	provider, where, err := authenticate(ctx, cloudsYAML)
	if err != nil {
		return nil, err
	}
	var a Admin
	var errs [3]error
	a.Identity, errs[0] = openstack.NewIdentityV3(provider, where)
	a.Compute, errs[1] = openstack.NewComputeV2(provider, where)
	a.Network, errs[2] = openstack.NewNetworkV2(provider, where)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("cannot find the cloud's services: %w", err)
	}
	return &a, nil
}

// Add makes a project with its users and its quota, and returns its ID.
func (a *Admin) Add(ctx context.Context, wanted emulation.Project) (id string, err error) {
	role, err := a.memberRole(ctx)
	if err != nil {
		return "", err
	}
	made, err := projects.Create(ctx, a.Identity, projects.CreateOpts{Name: wanted.Name, DomainID: domain}).Extract()
	if err != nil {
		return "", fmt.Errorf("cannot make the project %s: %w", wanted.Name, err)
	}
	for _, member := range wanted.Users {
		if err := a.addUser(ctx, member, made.ID, role); err != nil {
			return made.ID, fmt.Errorf("cannot make the user %s: %w", member.Name, err)
		}
	}
	quota := wanted.Quota
	if err := quotasets.Update(ctx, a.Compute, made.ID, quotasets.UpdateOpts{
		Instances: &quota.Instances, Cores: &quota.Cores, RAM: &quota.RAM, MetadataItems: &quota.MetadataItems,
	}).Err; err != nil {
		return made.ID, fmt.Errorf("cannot set the quota of the project %s: %w", wanted.Name, err)
	}
	return made.ID, nil
}

func (a *Admin) memberRole(ctx context.Context) (id string, err error) {
	found, err := every(ctx, roles.List(a.Identity, roles.ListOpts{Name: "member"}), roles.ExtractRoles)
	if err != nil {
		return "", fmt.Errorf("cannot list the roles: %w", err)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("cannot find the role member: the cloud has %d of that name", len(found))
	}
	return found[0].ID, nil
}

func (a *Admin) addUser(ctx context.Context, u emulation.User, project, role string) error {
	user, err := users.Create(ctx, a.Identity, users.CreateOpts{
		Name: u.Name, Password: u.Password, DomainID: domain, DefaultProjectID: project,
	}).Extract()
	if err != nil {
		return err
	}
	return roles.Assign(ctx, a.Identity, role, roles.AssignOpts{UserID: user.ID, ProjectID: project}).Err
}

// Remove removes an empty project and those whose project it is at first. What is gone
// already is no error.
func (a *Admin) Remove(ctx context.Context, id string) error {
	// Neutron makes each project a default group, and lets only an administrator delete it.
	all, err := every(ctx, groups.List(a.Network, groups.ListOpts{ProjectID: id}), groups.ExtractGroups)
	if err != nil {
		return fmt.Errorf("cannot list the security groups of the project %s: %w", id, err)
	}
	for _, group := range all {
		if err := gone(groups.Delete(ctx, a.Network, group.ID).ExtractErr()); err != nil {
			return fmt.Errorf("cannot delete the security group %s: %w", group.Name, err)
		}
	}
	members, err := every(ctx, users.List(a.Identity, nil), users.ExtractUsers)
	if err != nil {
		return fmt.Errorf("cannot list the users: %w", err)
	}
	for _, user := range members {
		if user.DefaultProjectID != id {
			continue
		}
		if err := gone(users.Delete(ctx, a.Identity, user.ID).ExtractErr()); err != nil {
			return fmt.Errorf("cannot delete the user %s: %w", user.Name, err)
		}
	}
	if err := gone(projects.Delete(ctx, a.Identity, id).ExtractErr()); err != nil {
		return fmt.Errorf("cannot delete the project %s: %w", id, err)
	}
	return nil
}

// gone is a deletion's error, without the one that says that there is no such thing.
func gone(err error) error {
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil
	}
	return err
}
