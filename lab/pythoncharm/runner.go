package pythoncharm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// onlineDeadline is the guest's own.
const onlineDeadline = 5 * time.Minute

// AddRunner registers a runner of the unit at GitHub, starts it, and returns its
// name. That charm registered by a token from inside the machine; GitHub knows the
// difference as little as the charm that takes it over.
func (l Layout) AddRunner(ctx context.Context, gitHubURL string) (string, error) {
	var random [12]byte
	rand.Read(random[:]) // never fails, by its contract
	name := l.prefix() + "-" + hex.EncodeToString(random[:])
	client := github.New(github.Options{Credential: github.Credential{Token: secret.New(l.Token)}})
	defer client.Close()
	scope := runner.Scope{API: gitHubURL + "/api/v3", Path: l.Path}
	app, _, _ := strings.Cut(l.Unit, "/")
	_, jit, err := client.Register(ctx, scope, runner.Request{Name: name, Group: "default", Labels: []string{"self-hosted", "linux", "x64", app, "jammy"}})
	if err != nil {
		return "", err
	}
	application, err := client.Application(ctx, scope, "x64")
	if err != nil {
		return "", err
	}
	userData, err := cloudinit.UserData(cloudinit.Machine{
		Name:           name,
		JIT:            jit,
		Application:    cloudinit.Application{URL: application.URL, SHA256: application.SHA256},
		OnlineDeadline: onlineDeadline,
	})
	if err != nil {
		return "", fmt.Errorf("cannot add a runner of the Python charm: %w", err)
	}
	return name, l.Start(ctx, name, userData)
}
