package runnerapp

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// How a job ends, in GitHub's words.
const (
	Success   = "success"
	Failure   = "failure"
	Cancelled = "cancelled"
)

// Job is a job as a runner gets it.
type Job struct {
	ID         int64  `json:"id"`
	RunID      int64  `json:"run_id"`
	Name       string `json:"name"`
	Workflow   string `json:"workflow"`
	Repository string `json:"repository"`
	Event      string `json:"event"`
	// EventPayload is the content of the file that GITHUB_EVENT_PATH names.
	EventPayload json.RawMessage `json:"event_payload"`
	HeadSHA      string          `json:"head_sha"`
	RefName      string          `json:"ref_name"`
	BaseRef      string          `json:"base_ref,omitempty"`
	HeadRef      string          `json:"head_ref,omitempty"`
	// Duration is how long a job without a Script takes.
	Duration time.Duration `json:"duration"`
	// Script is run by bash; its exit status is the job's success.
	Script string `json:"script,omitempty"`
	// Always is run by bash after it, even where the hook before the job failed:
	// the steps of a workflow with "if: always()".
	Always string `json:"always,omitempty"`
}

// Environment returns the variables that GitHub gives to every step of the job
// and to the hook before it, for a runner whose work folder is workDir and who
// keeps the event at eventPath.
func (j Job) Environment(runnerName, workDir, eventPath string) []string {
	ref := "refs/heads/" + j.RefName
	if j.Event == "pull_request" {
		ref = "refs/pull/" + j.RefName
	}
	owner, _, _ := strings.Cut(j.Repository, "/")
	return []string{
		"CI=true",
		"GITHUB_ACTIONS=true",
		"GITHUB_WORKFLOW=" + j.Workflow,
		"GITHUB_JOB=" + j.Name,
		"GITHUB_REPOSITORY=" + j.Repository,
		"GITHUB_REPOSITORY_OWNER=" + owner,
		"GITHUB_EVENT_NAME=" + j.Event,
		"GITHUB_EVENT_PATH=" + eventPath,
		"GITHUB_RUN_ID=" + strconv.FormatInt(j.RunID, 10),
		"GITHUB_RUN_NUMBER=1",
		"GITHUB_RUN_ATTEMPT=1",
		"GITHUB_REF=" + ref,
		"GITHUB_REF_NAME=" + j.RefName,
		"GITHUB_REF_TYPE=branch",
		"GITHUB_BASE_REF=" + j.BaseRef,
		"GITHUB_HEAD_REF=" + j.HeadRef,
		"GITHUB_SHA=" + j.HeadSHA,
		"GITHUB_WORKSPACE=" + workDir,
		"RUNNER_NAME=" + runnerName,
		"RUNNER_OS=Linux",
		"RUNNER_WORKSPACE=" + workDir,
		"RUNNER_TEMP=" + filepath.Dir(filepath.Dir(eventPath)),
	}
}
