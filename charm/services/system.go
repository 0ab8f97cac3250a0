package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/template"

	"github-runner/charm/systemd"
	"github-runner/charm/unitdir"
)

// systemdFolder is where an administrator's units are.
const systemdFolder = "/etc/systemd/system"

// system lets systemd keep the daemon running.
type system struct {
	unit   *Unit
	folder string
}

// unitFile is the systemd unit. A daemon that ends is started again for ever, and
// nothing of it survives it: at its end Pebble alone is told first, so that it
// ends its services in order, and what is left of the control group is killed. A
// service that runs out of memory takes no other with it.
var unitFile = template.Must(template.New("unit").Parse(`# Written by the charm github-runner, and removed with the unit.
[Unit]
Description=Services of the GitHub runner unit {{.Key}}
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart="{{.Pebble}}" run
WorkingDirectory={{.Home}}
{{range .Environment}}Environment="{{.}}"
{{end}}UMask=0077
Restart=always
RestartSec=5
KillMode=mixed
TimeoutStopSec=20
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
`))

func (s system) name() string {
	return "github-runner-" + s.unit.key + ".service"
}

func (s system) path() string {
	return filepath.Join(s.folder, s.name())
}

// text is the unit's file. Paths of Juju's agents and of units' folders have no
// character that systemd would take for more than itself.
func (s system) text() ([]byte, error) {
	var text bytes.Buffer
	err := unitFile.Execute(&text, map[string]any{
		"Key":         s.unit.key,
		"Pebble":      s.unit.pebble,
		"Home":        s.unit.home(),
		"Environment": s.unit.daemonEnvironment(),
	})
	return text.Bytes(), err
}

func (s system) start(ctx context.Context) error {
	text, err := s.text()
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(s.path()); err != nil || !bytes.Equal(have, text) {
		if err := unitdir.ReplaceFile(s.path(), text, 0o644); err != nil {
			return err
		}
	}
	// Always: who wrote the file may have died before this.
	if err := systemd.Control(ctx, "daemon-reload"); err != nil {
		return err
	}
	return systemd.Control(ctx, "enable", "--now", s.name())
}

func (s system) stop(ctx context.Context) error {
	return systemd.Control(ctx, "stop", s.name())
}

// tidy has nothing to do: what the daemon says goes to systemd's journal.
func (system) tidy() error { return nil }

func (s system) forget(ctx context.Context) error {
	// Of a hook that was killed.
	if err := ignoreMissing(os.Remove(s.path() + ".tmp")); err != nil {
		return fmt.Errorf("cannot remove what is left of the systemd unit: %w", err)
	}
	if _, err := os.Lstat(s.path()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := systemd.Control(ctx, "disable", "--now", s.name()); err != nil {
		return err
	}
	if err := os.Remove(s.path()); err != nil {
		return fmt.Errorf("cannot remove the systemd unit: %w", err)
	}
	return systemd.Control(ctx, "daemon-reload")
}
