package lxd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/lab/runnerapp"
)

const (
	// policySocket is where a unit's policy service answers beside the address on
	// the bridge, which an emulation does not have.
	policySocket = "policy.sock"
	// connectPause is the time between two attempts to connect to it.
	connectPause = time.Second
	// answerTime is how long it has to answer.
	answerTime = time.Minute
	// alwaysFails is the workflow that tests what a refusal does.
	alwaysFails = "Workflow Dispatch Failure Tests 2a34f8b1-41e4-4bcb-9bbf-7a74e6c482f7"
)

// turnedAway is why a job may not run: what its log says, and the status and code that
// the runner leaves.
type turnedAway struct {
	said   string
	status string
	code   int
}

func (r turnedAway) Error() string { return r.said }

const (
	policyFailed = "repo-policy-check-failure"
	authorFailed = "external-contributor-check-failure"
)

// event is what checks look at in the content of an event.
type event struct {
	Repository struct {
		Private bool `json:"private"`
	} `json:"repository"`
	Pull struct {
		Association string `json:"author_association"`
		Head        side   `json:"head"`
		Base        side   `json:"base"`
	} `json:"pull_request"`
	Review  by `json:"review"`
	Comment by `json:"comment"`
}

type side struct {
	SHA  string `json:"sha"`
	Ref  string `json:"ref"`
	Repo struct {
		FullName string `json:"full_name"`
	} `json:"repo"`
}

type by struct {
	Association string `json:"author_association"`
}

// check is the program that a guest's pre-job script asks whether the job may run.
func (g *guest) check(job runnerapp.Job) error {
	var checks cloudinit.Checks
	text := writtenFile(g.userData, cloudinit.ChecksPath)
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &checks); err != nil {
		return turnedAway{"Whether this job may run can't be found out: " + err.Error(), policyFailed, 0}
	}
	var of event
	if err := json.Unmarshal(job.EventPayload, &of); err != nil {
		of = event{} // nothing is known of it, and nothing speaks for the job
	}
	if checks.MembersOnly && !of.isByMember(job.Event) {
		return turnedAway{"This job may not run here: on this runner only an OWNER, MEMBER or COLLABORATOR of the repository may start jobs by pull requests and comments.", authorFailed, 0}
	}
	if checks.PolicyURL == "" {
		return nil
	}
	return g.askPolicy(checks, job, of)
}

func (e event) isByMember(name string) bool {
	associations := map[string]string{
		"pull_request": e.Pull.Association, "pull_request_target": e.Pull.Association, "pull_request_review": e.Review.Association,
		"pull_request_review_comment": e.Comment.Association, "issue_comment": e.Comment.Association,
	}
	association, checked := associations[name]
	if head := e.Pull.Head.Repo.FullName; !checked || head != "" && head == e.Pull.Base.Repo.FullName {
		return true
	}
	allowed := []string{"OWNER", "MEMBER", "COLLABORATOR"}
	return slices.Contains(allowed, association) || e.Repository.Private && association == "CONTRIBUTOR"
}

// askPolicy asks the service of the guest's unit, whose folder has the exchange
// folder in it: it connects for as long as the checks say, and asks once.
func (g *guest) askPolicy(checks cloudinit.Checks, job runnerapp.Job, of event) error {
	unknown := func(err error) error {
		return turnedAway{"Whether this job may run can't be found out: " + err.Error(), policyFailed, 0}
	}
	path, body := question(job, of)
	content, err := json.Marshal(body)
	if err != nil {
		return unknown(err)
	}
	request, err := http.NewRequestWithContext(g.application, http.MethodPost, strings.TrimRight(checks.PolicyURL, "/")+path, strings.NewReader(string(content)))
	if err != nil {
		return unknown(err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(writtenFile(g.userData, cloudinit.PolicyTokenPath)))
	conn, err := g.connectPolicy(time.Duration(checks.Patience) * time.Second)
	if err != nil {
		return unknown(err)
	}
	client := http.Client{Timeout: answerTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	response, err := client.Do(request)
	if err != nil {
		return unknown(err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 8<<10))
	if err != nil {
		return unknown(err)
	}
	reason := strings.Join(strings.Fields(string(said)), " ")
	switch {
	case response.StatusCode == http.StatusNoContent:
		return nil
	case response.StatusCode >= 500:
		return turnedAway{"Whether this job may run can't be found out: " + reason, policyFailed, response.StatusCode}
	}
	return turnedAway{"This job may not run here: " + reason, policyFailed, response.StatusCode}
}

// question is what is asked about a job, and where.
func question(job runnerapp.Job, of event) (path string, body map[string]string) {
	body = map[string]string{"repository_name": job.Repository}
	switch {
	case job.Workflow == alwaysFails:
		return "/always-fail/check-run", body
	case slices.Contains([]string{"pull_request", "pull_request_review", "pull_request_review_comment"}, job.Event):
		body["source_repository_name"], body["commit_sha"] = of.Pull.Head.Repo.FullName, of.Pull.Head.SHA
		body["target_branch_name"], body["source_branch_name"] = cmp.Or(job.BaseRef, of.Pull.Base.Ref), cmp.Or(job.HeadRef, of.Pull.Head.Ref)
		return "/pull_request/check-run", body
	case slices.Contains([]string{"workflow_dispatch", "push", "schedule"}, job.Event):
		return "/" + job.Event + "/check-run", body
	}
	return "/default/check-run", body
}

// dialIn connects to a socket in a folder, whose path may be too long for a socket's
// address.
func dialIn(ctx context.Context, folder, name string) (net.Conn, error) {
	dir, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name))
}

func (g *guest) connectPolicy(patience time.Duration) (net.Conn, error) {
	if g.exchange == "" {
		return nil, errors.New("the guest belongs to no unit")
	}
	ctx, cancel := context.WithTimeout(g.application, patience)
	defer cancel()
	unit := filepath.Dir(filepath.Dir(g.exchange))
	for {
		conn, err := dialIn(ctx, unit, policySocket)
		if err == nil {
			return conn, nil
		}
		if pause(ctx, connectPause) != nil {
			return nil, fmt.Errorf("no connection to the policy service within %v: %w", patience, err)
		}
	}
}
