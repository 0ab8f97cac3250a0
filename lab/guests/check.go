package guests

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/lab/clock"
	"github-runner/lab/runnerapp"
)

const (
	// connectPause is the time between two attempts to connect to the policy service.
	connectPause = time.Second
	// answerTime is how long it has to answer.
	answerTime = time.Minute
	// alwaysFails is the workflow that tests what a refusal does.
	alwaysFails = "Workflow Dispatch Failure Tests 2a34f8b1-41e4-4bcb-9bbf-7a74e6c482f7"
)

// ErrAlone is what a machine says that belongs to no unit.
var ErrAlone = errors.New("the guest belongs to no unit")

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
func (r *Runner) check(ctx context.Context, job runnerapp.Job) error {
	var checks cloudinit.Checks
	text := WrittenFile(r.UserData, cloudinit.ChecksPath)
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
	return r.askPolicy(ctx, checks, job, of)
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

// askPolicy asks the policy service, and once more where that hangs up without an answer,
// as one does that restarts: for as long as the checks say.
func (r *Runner) askPolicy(ctx context.Context, checks cloudinit.Checks, job runnerapp.Job, of event) error {
	path, body := question(job, of)
	content, err := json.Marshal(body)
	if err != nil {
		return unknown(err)
	}
	patience := time.Duration(checks.Patience) * time.Second
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for broken := false; ; broken = true {
		conn, err := r.connectPolicy(patient, checks.PolicyURL)
		if err != nil {
			return unknown(fmt.Errorf("no connection to the policy service within %v: %w", patience, err))
		}
		status, reason, err := r.askOver(ctx, conn, strings.TrimRight(checks.PolicyURL, "/")+path, content)
		if err == nil {
			return verdict(status, reason, broken)
		}
		if !hungUp(err) || clock.Pause(patient, connectPause) != nil {
			return unknown(err)
		}
	}
}

func unknown(err error) error {
	return turnedAway{"Whether this job may run can't be found out: " + err.Error(), policyFailed, 0}
}

// askOver asks once, by a connection that it closes.
func (r *Runner) askOver(ctx context.Context, conn net.Conn, url string, question []byte) (status int, reason string, err error) {
	defer conn.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
	if err != nil {
		return 0, "", err
	}
	// Without it the client would ask again by itself.
	request.GetBody = nil
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(WrittenFile(r.UserData, cloudinit.PolicyTokenPath)))
	client := http.Client{Timeout: answerTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 8<<10))
	if err != nil {
		return 0, "", err
	}
	return response.StatusCode, strings.Join(strings.Fields(string(said)), " "), nil
}

// hungUp reports whether the service ended the connection without an answer.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// verdict is what an answer says of the job, nil where it may run. The token is good for
// one question: after a broken one, nobody knows.
func verdict(status int, reason string, broken bool) error {
	switch {
	case status == http.StatusNoContent:
		return nil
	case broken && status == http.StatusUnauthorized:
		return turnedAway{"Whether this job may run can't be found out: the connection broke before the answer came, and a token is good for one question", policyFailed, http.StatusServiceUnavailable}
	case status >= http.StatusInternalServerError:
		return turnedAway{"Whether this job may run can't be found out: " + reason, policyFailed, status}
	}
	return turnedAway{"This job may not run here: " + reason, policyFailed, status}
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

// connectPolicy tries until ctx ends.
func (r *Runner) connectPolicy(ctx context.Context, url string) (net.Conn, error) {
	for {
		conn, err := r.Machine.DialPolicy(ctx, url)
		if err == nil || errors.Is(err, ErrAlone) {
			return conn, err
		}
		if clock.Pause(ctx, connectPause) != nil {
			return nil, err
		}
	}
}
