package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github-runner/charm/pattern"
)

// MaxFile bounds each of the files that a runner leaves, in bytes.
const MaxFile = 1024

// Bounds of what a runner may say.
const (
	maxText = 256
	// maxTime is the year 5138: far beyond any clock that is merely wrong.
	maxTime = 1e11
)

// Status is how a runner's run ended, in its own words.
type Status string

// All that a runner may say.
const (
	StatusNormal            Status = "normal"
	StatusAbnormal          Status = "abnormal"
	StatusPolicyCheckFailed Status = "repo-policy-check-failure"
	StatusAuthorCheckFailed Status = "external-contributor-check-failure"
)

// PreJob is what a runner left when a job arrived.
type PreJob struct {
	Timestamp  time.Time
	Workflow   string
	Repository string
	Event      string
	// RunID is the workflow run's number at GitHub.
	RunID string
}

// PostJob is what a runner left at its end.
type PostJob struct {
	Timestamp time.Time
	Status    Status
	// Code is the HTTP or exit code behind the status, where there is one.
	Code *int
}

// The shapes that are let through. GitHub allows no other characters, and at most 100 of
// them in a name.
var (
	repositoryShape = pattern.UpTo(201, `^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$`)
	eventShape      = pattern.UpTo(64, `^[A-Za-z0-9_-]+$`)
	runIDShape      = pattern.UpTo(20, `^[0-9]+$`)
)

// ParsePreJob reads the pre-job file of a runner, which a job could write to:
// whatever is not exactly as expected is an error, which names the runner and
// quotes nothing of the file.
func ParsePreJob(runner string, data []byte) (PreJob, error) {
	job, err := parsePreJob(data)
	if err != nil {
		return PreJob{}, fmt.Errorf("cannot use the pre-job metrics of runner %s: %w", runner, err)
	}
	return job, nil
}

// ParsePostJob reads the post-job file of a runner, just as strictly.
func ParsePostJob(runner string, data []byte) (PostJob, error) {
	job, err := parsePostJob(data)
	if err != nil {
		return PostJob{}, fmt.Errorf("cannot use the post-job metrics of runner %s: %w", runner, err)
	}
	return job, nil
}

func parsePreJob(data []byte) (PreJob, error) {
	var file struct {
		Timestamp  *float64        `json:"timestamp"`
		Workflow   *string         `json:"workflow"`
		Repository *string         `json:"repository"`
		Event      *string         `json:"event"`
		RunID      json.RawMessage `json:"workflow_run_id"`
	}
	if err := decode(data, &file); err != nil {
		return PreJob{}, err
	}
	timestamp, err := instant(file.Timestamp)
	if err != nil {
		return PreJob{}, err
	}
	job := PreJob{Timestamp: timestamp, RunID: strings.Trim(string(file.RunID), `"`)}
	switch {
	case file.Workflow == nil || !isText(*file.Workflow):
		return PreJob{}, errors.New("its workflow is no text of a sane length")
	case file.Repository == nil || !repositoryShape.Matches(*file.Repository):
		return PreJob{}, errors.New("its repository is not owner/name")
	case file.Event == nil || !eventShape.Matches(*file.Event):
		return PreJob{}, errors.New("its event is not the name of one")
	case !runIDShape.Matches(job.RunID):
		return PreJob{}, errors.New("its workflow_run_id is no number")
	}
	job.Workflow, job.Repository, job.Event = *file.Workflow, *file.Repository, *file.Event
	return job, nil
}

func parsePostJob(data []byte) (PostJob, error) {
	var file struct {
		Timestamp *float64 `json:"timestamp"`
		Status    Status   `json:"status"`
		Info      *struct {
			Code *int32 `json:"code"`
		} `json:"status_info"`
	}
	if err := decode(data, &file); err != nil {
		return PostJob{}, err
	}
	timestamp, err := instant(file.Timestamp)
	if err != nil {
		return PostJob{}, err
	}
	if !slices.Contains([]Status{StatusNormal, StatusAbnormal, StatusPolicyCheckFailed, StatusAuthorCheckFailed}, file.Status) {
		return PostJob{}, errors.New("its status is none of those known")
	}
	job := PostJob{Timestamp: timestamp, Status: file.Status}
	if file.Info != nil && file.Info.Code != nil {
		code := int(*file.Info.Code)
		job.Code = &code
	}
	return job, nil
}

// decode reads exactly one JSON object. The decoder's own errors quote what
// they read and are not passed on.
func decode(data []byte, into any) error {
	switch {
	case len(data) > MaxFile:
		return fmt.Errorf("it has %d bytes, at most %d are read", len(data), MaxFile)
	case !utf8.Valid(data):
		return errors.New("it is no UTF-8 text")
	case !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return errors.New("it is no JSON object")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(into); err != nil {
		return errors.New("it is no JSON object with the expected fields")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its JSON object")
	}
	return nil
}

// instant converts seconds since 1970. JSON has no infinities, and the decoder
// refuses numbers that do not fit.
func instant(seconds *float64) (time.Time, error) {
	if seconds == nil || *seconds < 0 || *seconds > maxTime {
		return time.Time{}, errors.New("its timestamp is no time since 1970")
	}
	return time.UnixMicro(int64(*seconds * 1e6)).UTC(), nil
}

func isText(s string) bool {
	return len(s) <= maxText && strings.IndexFunc(s, unicode.IsControl) < 0
}
