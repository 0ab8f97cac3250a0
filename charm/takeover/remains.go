package takeover

// What the Python charm left outside LXD. What it did to the machine itself stays:
// packages, the snap of LXD, br_netfilter in /etc/modules, the logs of runners and
// the log of metric events.
const (
	systemdDir = "/etc/systemd/system"

	// The timer ran a hook of the unit that its service names. All units of a
	// machine wrote the same two files.
	timerUnit    = "ghro.reconcile-runners.timer"
	timerService = "ghro.reconcile-runners.service"

	// The policy service answered the pre-job scripts of all runners of the
	// machine. Its unit file has a GitHub token in it.
	policyUnit = "repo-policy-compliance.service"
	policyDir  = "/home/ubuntu/repo_policy_compliance_service"

	// cronFile rebuilt the image, by a script in one unit's charm.
	cronFile = "/etc/cron.d/build-runner-image"

	// applicationFile is the runner application, for all units.
	applicationFile = "/home/ubuntu/github-runner-app"

	// Every runner had a small file system in a file, mounted on the host, for
	// what it measured. What could not be read was kept in the quarantine.
	metricsDir    = "/home/ubuntu/runner-fs"
	metricsImages = "/home/ubuntu/runner-fs-images"
	quarantineDir = "/home/ubuntu/runner-fs-quarantine"

	// memoryDir is the tmpfs that LXD's pool "runner" was on with
	// runner-storage=memory.
	memoryDir = "/storage/ram"
)

// stateFile is the charm's memory, in the charm's folder. It has the GitHub token
// in clear, and anyone on the machine can read it.
const stateFile = "charm_state.json"

// secretFiles are those in the charm's folder that hold secrets in clear.
var secretFiles = [...]string{stateFile, ".unit-state.db", ".unit-state.db-journal", "service_token"}
