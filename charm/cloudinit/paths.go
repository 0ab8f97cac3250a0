package cloudinit

// Places inside a runner, the same on every cloud.
const (
	// User runs the jobs.
	User = "ubuntu"
	// Home is the user's home directory.
	Home = "/home/ubuntu"
	// ApplicationDir holds GitHub's runner application.
	ApplicationDir = "/home/ubuntu/actions-runner"
	// ExchangeDir holds the files for the manager.
	ExchangeDir = "/home/ubuntu/metrics-exchange"
	// JITPath is the root-only file with the encoded JIT configuration, which
	// the service deletes once it has read it.
	JITPath = "/etc/github-runner/jit-config"
	// PolicyTokenPath is the root-only file with the one-time token for the policy
	// service. The service hands it to the user, whose pre-job script deletes it
	// before it asks.
	PolicyTokenPath = "/etc/github-runner/policy-token"
	// ChecksPath is what a job must pass, as Checks in JSON.
	ChecksPath = "/etc/github-runner/checks.json"
	// StartedPath is the marker that the one and only start leaves.
	StartedPath = "/etc/github-runner/started"

	serviceName      = "github-runner.service"
	startPath        = "/etc/github-runner/start"
	endPath          = "/etc/github-runner/end"
	preJobPath       = "/etc/github-runner/pre-job.sh"
	checkPath        = "/etc/github-runner/check"
	runPath          = "/run/github-runner"
	envPath          = "/etc/github-runner/env"
	aproxyPath       = "/etc/github-runner/aproxy"
	aproxyRulesPath  = "/etc/github-runner/aproxy.nft"
	mergePath        = "/etc/github-runner/merge-json"
	dockerDaemonPath = "/etc/github-runner/docker-daemon.json"
	dockerClientPath = "/etc/github-runner/docker-client.json"
)

// Files in the exchange directory.
const (
	// PreJobMetricsFile says what job came: it is written when a job arrives.
	PreJobMetricsFile = "pre-job-metrics.json"
	// PreJobDoneFile is the marker that the pre-job script leaves at its end.
	PreJobDoneFile = "pre-job-done"
	// PostJobMetricsFile says how the job ended.
	PostJobMetricsFile = "post-job-metrics.json"
	// RunCompletedFile is left when the runner has nothing more to do.
	RunCompletedFile = "run-completed"
	// DiagFile is what the service and the application print while they run;
	// after an abnormal end it is the end of all their logs.
	DiagFile = "diag.log"
)
