// Package guests is what runs in the simulated machines of a unit, on whatever
// emulated cloud: the in-guest service and the runner application, or the making of an
// image, as the machine's user-data asks for it.
package guests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/lab/clock"
	"github-runner/lab/faults"
	"github-runner/lab/runnerapp"
)

// The faults that a Runner has.
const (
	AppExits    faults.Kind = "app-exits"
	NeverOnline faults.Kind = "never-online"
	LongPreJob  faults.Kind = "long-pre-job"
)

// Killed is the exit status of an application that was killed.
const Killed = 137

// onlineRetry is the time between two attempts to come online.
const onlineRetry = 500 * time.Millisecond

// Listener is the session of a runner application with GitHub; a
// *runnerapp.Session is one.
type Listener interface {
	Online(ctx context.Context) error
	NextJob(ctx context.Context) (runnerapp.Job, error)
	Work(ctx context.Context, job runnerapp.Job) (string, error)
	Log(ctx context.Context, jobID int64, text string) error
	Finish(ctx context.Context, jobID int64, conclusion string) error
	Close() error
}

// ErrNoGitHub is the error of NoGitHub.
var ErrNoGitHub = errors.New("cannot reach GitHub from here")

// NoGitHub opens no session, in a world without GitHub.
func NoGitHub(string) (Listener, error) {
	return nil, ErrNoGitHub
}

// Machine is what a runner runs in.
type Machine interface {
	// Begin notes that the machine serves. An error says why it does not, as when
	// it has served already.
	Begin() error
	// Leave leaves a file for the manager, all at once.
	Leave(name, content string)
	// Left reports whether there is such a file.
	Left(name string) bool
	// Log prints a line, as service and application do, where the manager can
	// read it.
	Log(line string)
	// Process shows a process among the machine's, and returns how to end it.
	Process(name string) (end func())
	// DialPolicy connects to the policy service at a URL. ErrAlone: there is none.
	DialPolicy(ctx context.Context, url string) (net.Conn, error)
}

// Runner is the software of one runner.
type Runner struct {
	// Name is its machine's.
	Name     string
	UserData string
	Machine  Machine
	// Listen opens the session of the application with GitHub.
	Listen func(jit string) (Listener, error)
	Faults *faults.Set

	// atWork is set while the application has a job.
	atWork atomic.Bool
	// refused is why its job may not run.
	refused *turnedAway
}

// AtWork reports whether the application has a job.
func (r *Runner) AtWork() bool { return r.atWork.Load() }

// Serve is the start script of the in-guest service, and the application with its
// JIT configuration, which the end of ctx kills. It returns the exit status of the
// application.
func (r *Runner) Serve(ctx context.Context, jit string) int {
	if err := r.Machine.Begin(); err != nil {
		r.Machine.Log(err.Error())
		return 1
	}
	if f := r.Faults.Take(AppExits, r.Name); f != nil {
		r.Machine.Log(f.Says("An error occurred: the runner application can't start"))
		return 1
	}
	if r.Faults.Take(NeverOnline, r.Name) != nil {
		r.Machine.Log("connecting to GitHub")
		<-ctx.Done()
		return Killed
	}
	session, err := r.Listen(jit)
	if err != nil {
		r.Machine.Log(err.Error())
		return 1
	}
	code := r.listen(ctx, session)
	if ctx.Err() == nil {
		// A guest that lost its power says no goodbye.
		_ = session.Close()
	}
	return code
}

// listen is the runner application.
func (r *Runner) listen(ctx context.Context, session Listener) int {
	if err := online(ctx, session); err != nil {
		r.Machine.Log(err.Error())
		return 1
	}
	r.Machine.Log("Listening for Jobs")
	job, err := session.NextJob(ctx)
	if err != nil {
		r.Machine.Log(err.Error())
		return 1
	}
	r.Machine.Log("Running job: " + job.Name)
	defer r.Machine.Process("Runner.Worker")()
	r.atWork.Store(true)
	defer r.atWork.Store(false)
	if r.preJob(ctx, job) != nil {
		return Killed
	}
	conclusion, err := r.work(ctx, session, job)
	if err != nil {
		return Killed
	}
	r.Machine.Log("Job " + job.Name + " completed with result: " + conclusion)
	if err := session.Finish(ctx, job.ID, conclusion); err != nil {
		r.Machine.Log(err.Error())
	}
	return 0
}

// work does the job, unless it may not run.
func (r *Runner) work(ctx context.Context, session Listener, job runnerapp.Job) (conclusion string, err error) {
	if r.refused == nil {
		return session.Work(ctx, job)
	}
	if err := session.Log(ctx, job.ID, r.refused.said+"\nThis runner ends now.\n"); err != nil {
		r.Machine.Log(err.Error())
	}
	return runnerapp.Failure, ctx.Err()
}

// online connects, however long GitHub does not answer.
func online(ctx context.Context, session Listener) error {
	for {
		err := session.Online(ctx)
		if err == nil || errors.Is(err, runnerapp.ErrGone) || errors.Is(err, runnerapp.ErrConflict) {
			return err
		}
		if stopped := clock.Pause(ctx, onlineRetry); stopped != nil {
			return err
		}
	}
}

// preJob is the script that runs before a job's first step.
func (r *Runner) preJob(ctx context.Context, job runnerapp.Job) error {
	metrics, err := json.Marshal(map[string]any{
		"workflow": job.Workflow, "repository": job.Repository, "event": job.Event,
		"timestamp": now(), "workflow_run_id": fmt.Sprint(job.RunID),
	})
	if err != nil {
		return err
	}
	r.Machine.Leave(cloudinit.PreJobMetricsFile, string(metrics)+"\n")
	if f := r.Faults.Take(LongPreJob, r.Name); f != nil {
		if err := clock.Pause(ctx, f.Lasts(time.Hour)); err != nil {
			return err
		}
	}
	var refused turnedAway
	if errors.As(r.check(ctx, job), &refused) {
		r.refused = &refused
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.Machine.Leave(cloudinit.PreJobDoneFile, "")
	return nil
}

// End is the stop script of the in-guest service, after an application that ended
// with this exit status. A guest without power does not get to it.
func (r *Runner) End(code int) {
	status := "abnormal"
	if code == 0 && r.Machine.Left(cloudinit.PreJobDoneFile) {
		status = "normal"
	}
	if r.refused != nil {
		status, code = r.refused.status, r.refused.code
	}
	r.Machine.Leave(cloudinit.PostJobMetricsFile, fmt.Sprintf(`{"timestamp": %.3f, "status": %q, "status_info": {"code": %d}}`+"\n", now(), status, code))
	r.Machine.Leave(cloudinit.RunCompletedFile, "")
}

// now is the time as the scripts write it: seconds with a fraction.
func now() float64 {
	return float64(time.Now().UnixMilli()) / 1000
}
