package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/sirupsen/logrus"

	"github-runner/charm/fleet"
	"github-runner/charm/github"
	"github-runner/charm/lxd"
	"github-runner/charm/policy"
	"github-runner/charm/runner"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

const policyUsage = "github-runner policy --unit FOLDER"

// servePolicy is the role of the service that decides whether jobs may run: it
// answers until ctx ends.
func servePolicy(ctx context.Context, args []string) error {
	if len(args) != 2 || args[0] != "--unit" {
		return errors.New("usage: " + policyUsage)
	}
	dir, err := unitdir.Find(os.Getenv(rootVariable), args[1])
	if err != nil {
		return err
	}
	log := logrus.NewEntry(logrus.New()) // Pebble keeps what it writes
	applied := &appliedGitHub{dir: dir, log: log}
	defer applied.close()
	owner, err := applied.owner()
	if err != nil {
		return err
	}
	// From now on a state that can't be read leaves this one in force.
	if _, err := applied.github(); err != nil {
		return err
	}
	service, err := policy.New(policy.Options{Dir: dir.Path(policy.Folder), GitHub: applied.github, Log: log})
	if err != nil {
		return err
	}
	socket, err := dir.Listen(policy.Socket)
	if err != nil {
		return err
	}
	addresses, err := lxd.WatchBridge(ctx, owner)
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	return service.Serve(ctx, policy.Where{Socket: socket, Addresses: addresses, Port: policy.Port})
}

// appliedGitHub is GitHub as the unit's state has it: its address, path and token.
// A state that was written anew makes another client.
type appliedGitHub struct {
	dir *unitdir.Dir
	log *logrus.Entry

	mu sync.Mutex
	// read is the state that was read last, basis what the rest was made from: the
	// unit's memory changes more often.
	read   unitdir.Identity
	basis  []byte
	client *github.Client
	found  *github.Repositories
}

// owner is the unit whose folder it is. It never changes.
func (a *appliedGitHub) owner() (runner.Owner, error) {
	_, applied, err := a.decode()
	return applied.Owner, err
}

// github returns what to ask GitHub with, the same as before unless the state is
// another one.
func (a *appliedGitHub) github() (policy.GitHub, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now, err := a.dir.StateIdentity()
	if err == nil && a.found != nil && now == a.read {
		return a.found, nil
	}
	past, applied, decodeErr := a.decode()
	if err := errors.Join(err, decodeErr); err != nil {
		if a.found == nil {
			return nil, err
		}
		// What was in force still is: jobs need not wait until the file is mended.
		a.log.WithError(err).Warn("the unit's state can't be read: its last one holds")
		return a.found, nil
	}
	basis, err := json.Marshal([]any{past.Applied, past.FormerScopes})
	if err != nil {
		return nil, fmt.Errorf("cannot use the unit's state: %w", err)
	}
	if a.found != nil && bytes.Equal(basis, a.basis) {
		a.read = now
		return a.found, nil
	}
	client, scopes := newClient(past, applied)
	if a.client != nil {
		a.client.Close()
	}
	a.read, a.basis = now, basis
	a.client, a.found = client, client.Repositories(scopes...)
	return a.found, nil
}

func (a *appliedGitHub) decode() (unitdir.State, state.CharmState, error) {
	past, err := a.dir.LookAtState()
	if err != nil {
		return past, state.CharmState{}, err
	}
	if len(past.Applied) == 0 {
		return past, state.CharmState{}, errors.New("cannot answer runners: the unit has no configuration in force yet")
	}
	applied, err := state.Decode(past.Applied)
	return past, applied, err
}

// newClient makes the client for the state in force, with the scopes that its
// runners serve: at a former path, too, they finish what they have.
func newClient(past unitdir.State, applied state.CharmState) (*github.Client, []runner.Scope) {
	scopes := []runner.Scope{applied.Scope}
	former := map[runner.Scope]state.Credential{}
	for _, one := range past.FormerScopes {
		scope := runner.Scope(one.Scope)
		if scope.API == applied.Scope.API {
			scopes = append(scopes, scope)
		}
		if !one.IsZero() {
			former[scope] = unit.Recalled(one.Credential)
		}
	}
	return github.New(fleet.GitHubOptions(applied, former, version)), scopes
}

func (a *appliedGitHub) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.client != nil {
		a.client.Close()
	}
}
