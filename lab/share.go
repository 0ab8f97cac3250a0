package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github-runner/lab/allinone"
	"github-runner/lab/openstack"
	"github-runner/lab/project"
)

// sharedBy is the lab in a directory whose real OpenStack another one may use.
func sharedBy(dir string) (*Lab, error) {
	owner, err := Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot share an OpenStack: %w", err)
	}
	if owner.Cloud != CloudOpenStack || owner.Share != "" || owner.Network == nil {
		return nil, fmt.Errorf("cannot share the OpenStack of the lab in %s: it has none of its own", owner.Dir)
	}
	return owner, nil
}

// joinOpenStack makes a project for this lab in another one's OpenStack, and starts
// GitHub's stand-in where the servers of that one reach it.
func (l *Lab) joinOpenStack(ctx context.Context, step func(string)) error {
	owner, err := sharedBy(l.Share)
	if err != nil {
		return err
	}
	l.Share, l.Guests, l.OpenStack = owner.Dir, owner.Guests, owner.OpenStack
	step("making a project in the OpenStack of the lab in " + owner.Dir)
	if err := l.makeProject(ctx, owner); err != nil {
		return err
	}
	step("starting GitHub's stand-in")
	address, err := freeAddress(owner.Network.Host)
	if err != nil {
		return err
	}
	if err := l.startGitHubAt(ctx, address); err != nil || l.Guests != allinone.Fake {
		return err
	}
	return l.startFakeGuests(ctx, owner.Network, step)
}

// makeProject makes a project with a user, and a clouds.yaml for them.
func (l *Lab) makeProject(ctx context.Context, owner *Lab) error {
	admin, err := l.admin(ctx)
	if err != nil {
		return err
	}
	account, err := accountOf(owner)
	if err != nil {
		return err
	}
	account.Project, account.User, account.Password = "lab-"+tagOf(l.Dir), "lab-"+tagOf(l.Dir), rand.Text()
	l.ProjectID, err = admin.Add(ctx, openstack.Project{
		Name: account.Project, Users: []openstack.User{{Name: account.User, Password: account.Password}},
		Quota: openstack.FirstWorld().Projects[0].Quota,
	})
	// First of all: what is made is to be removed again.
	if err := errors.Join(err, l.save()); err != nil {
		return err
	}
	content, err := account.CloudsYAML()
	if err == nil {
		err = os.WriteFile(l.CloudsPath(), content, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot tell how to reach the project %s: %w", account.Project, err)
	}
	return nil
}

// accountOf is how the clouds.yaml of a lab's user reaches its OpenStack.
func accountOf(l *Lab) (project.Account, error) {
	content, err := os.ReadFile(l.CloudsPath())
	if err != nil {
		return project.Account{}, fmt.Errorf("cannot reach the lab's OpenStack: %w", err)
	}
	return project.AccountIn(content)
}

// admin opens a session of the administrator of the OpenStack that the lab uses.
func (l *Lab) admin(ctx context.Context) (*project.Admin, error) {
	content, err := os.ReadFile(l.AdminPath())
	if err != nil {
		return nil, fmt.Errorf("cannot reach the lab's OpenStack: %w", err)
	}
	return project.OpenAdmin(ctx, content)
}

// leaveOpenStack removes the lab's project from another one's OpenStack, with all that
// is in it. Where that lab is gone, so is the project.
func (l *Lab) leaveOpenStack(ctx context.Context) (removed []string, err error) {
	admin, err := l.admin(ctx)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(l.CloudsPath()); err == nil {
		p, err := l.Project(ctx)
		if err != nil {
			return nil, err
		}
		if removed, err = p.Empty(ctx); err != nil {
			return removed, err
		}
	}
	if err := admin.Remove(ctx, l.ProjectID); err != nil {
		return removed, err
	}
	return append(removed, "project "+l.ProjectID), nil
}
