// Package pythoncharm lays out what the Python charm of July 2024 leaves on the
// machine of a unit, so that a charm can be seen to take it over: files, systemd
// units, LXD's configuration, and runners at GitHub.
package pythoncharm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	lxd "github.com/canonical/lxd/client"
)

// PolicyPort is where the Python charm's policy service listens, at all addresses
// of the machine.
const PolicyPort = 8080

// Layout is one unit of the Python charm on one machine.
type Layout struct {
	// Unit is such as "github-runner/0".
	Unit string
	// Path is "owner/repository" or an organisation, Token what it was managed
	// with.
	Path  string
	Token string
	// CharmDir is the unit's charm; Root a prefix of all other paths.
	CharmDir string
	Root     string
	// Storage is where Juju attached the unit's storage; empty: where that charm
	// expected it, below the root.
	Storage string
	// Mounts tells that file systems can be mounted here, as that charm did.
	Mounts bool
	// LXD is the machine's.
	LXD lxd.InstanceServer
}

// prefix is what the names of the unit's runners start with.
func (l Layout) prefix() string {
	return strings.ReplaceAll(l.Unit, "/", "-")
}

func (l Layout) path(name string) string {
	return filepath.Join(l.Root, name)
}

// files are the unit's files by path, with what the Python charm wrote there.
func (l Layout) files() map[string]string {
	place := fmt.Sprintf(`{"org": %q, "group": "default"}`, l.Path)
	if owner, repo, ok := strings.Cut(l.Path, "/"); ok {
		place = fmt.Sprintf(`{"owner": %q, "repo": %q}`, owner, repo)
	}
	charm := func(name string) string { return filepath.Join(l.CharmDir, name) }
	return map[string]string{
		charm("charm_state.json"): fmt.Sprintf(`{"arch": "x64", "is_metrics_logging_available": true, "proxy_config": {"http": null, "https": null, "no_proxy": null, "use_aproxy": false}, "instance_type": "local_lxd", "charm_config": {"denylist": [], "dockerhub_mirror": null, "labels": [], "openstack_clouds_yaml": null, "path": %s, "reconcile_interval": 10, "repo_policy_compliance": null, "token": %q}, "runner_config": {"base_image": "jammy", "virtual_machines": 1, "virtual_machine_resources": [2, "7GiB", "10GiB"], "runner_storage": "juju-storage"}, "ssh_debug_connections": []}`, place, l.Token),
		charm(".unit-state.db"):   "SQLite format 3\x00" + l.Token,
		charm("service_token"):    "0123456789abcdef0123456789abcdef",

		l.path("/etc/systemd/system/ghro.reconcile-runners.service"): fmt.Sprintf(`[Unit]
Description=Dispatch the reconcile-runners event on %[1]s

[Service]
Type=oneshot
ExecStart=/usr/bin/run-one /usr/bin/bash -c '/usr/bin/juju-exec "%[1]s" "JUJU_DISPATCH_PATH=reconcile-runners ./dispatch" || /usr/bin/juju-run "%[1]s" "JUJU_DISPATCH_PATH=reconcile-runners ./dispatch"'

[Install]
WantedBy=multi-user.target
`, l.Unit),
		l.path("/etc/systemd/system/ghro.reconcile-runners.timer"): `[Unit]
Description=Timer to dispatch reconcile-runners event periodically
Requires=ghro.reconcile-runners.service

[Timer]
Unit=ghro.reconcile-runners.service
OnUnitInactiveSec=10m
RandomizedDelaySec=2m

[Install]
WantedBy=timers.target`,
		l.path("/etc/systemd/system/repo-policy-compliance.service"): fmt.Sprintf(`[Unit]
Description=Gunicorn instance to serve repo policy compliance endpoints
After=network.target

[Service]
User=ubuntu
Group=www-data
WorkingDirectory=/home/ubuntu/repo_policy_compliance_service
Environment="GITHUB_TOKEN=%s"
Environment="CHARM_TOKEN=0123456789abcdef0123456789abcdef"
ExecStart=/usr/bin/gunicorn --bind 0.0.0.0:%d --timeout 60 app:app
`, l.Token, PolicyPort),
		l.path("/home/ubuntu/repo_policy_compliance_service/app.py"): "app = None\n",
		l.path("/etc/cron.d/build-runner-image"):                     fmt.Sprintf("4 4,10,16,22 * * * ubuntu /usr/bin/bash %s/scripts/build-lxd-image.sh '' '' '' jammy\n", l.CharmDir),
		l.path("/home/ubuntu/github-runner-app"):                     "the runner application\n",
		l.path("/etc/logrotate.d/github-runner-metrics"):             "/var/log/github-runner-metrics.log {\n    rotate 0\n    missingok\n    notifempty\n    create\n}\n",

		l.path("/home/ubuntu/runner-fs-quarantine/" + l.prefix() + "-00112233445566778899aabb.tar.gz"): "corrupt",
		l.path("/var/log/github-runner-logs/" + l.prefix() + "-00112233445566778899aabb/syslog"):       "the end\n",
	}
}

// WriteFiles writes all files of the unit, over those of another unit of that
// charm where both have the same.
func (l Layout) WriteFiles() error {
	for path, content := range l.files() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot lay out the Python charm: %w", err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return fmt.Errorf("cannot lay out the Python charm: %w", err)
		}
	}
	return nil
}

// metrics makes the file system that a runner leaves its metrics in, and returns
// where it is.
func (l Layout) metrics(name string) (string, error) {
	dir, image := l.path("/home/ubuntu/runner-fs/"+name), l.path("/home/ubuntu/runner-fs-images/"+name+".img")
	failure := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(filepath.Dir(image), 0o755), os.WriteFile(image, make([]byte, 1<<20), 0o644))
	if failure == nil && l.Mounts {
		// The Python charm mounts the image, by a loop device. Those are few, and
		// the tests of a machine share them.
		failure = unix.Mount("runner-fs", dir, "tmpfs", 0, "size=1m")
	}
	if failure != nil {
		return "", fmt.Errorf("cannot make the metrics file system of %s: %w", name, failure)
	}
	return dir, os.Chmod(dir, 0o777)
}
