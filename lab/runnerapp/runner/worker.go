package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github-runner/lab/runnerapp"
)

// maxJob bounds a job's description.
const maxJob = 8 << 20

// work is the life of Runner.Worker: it gets the job on its standard input, and
// later perhaps one line that ends it early. It returns the exit code.
func work(ctx context.Context, root string) int {
	log, err := openLog(root, "Worker")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	defer log.Close()
	orders := bufio.NewReaderSize(io.LimitReader(os.Stdin, maxJob), 64<<10)
	line, err := orders.ReadBytes('\n')
	var job runnerapp.Job
	if err == nil {
		err = json.Unmarshal(line, &job)
	}
	if err != nil {
		fmt.Fprintln(log, "cannot read the job:", err)
		return exitFailed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		// Also the end of the listener ends the job.
		how, _ := orders.ReadString('\n')
		cancel(ended(strings.TrimSpace(how)))
	}()
	w := worker{root: root, job: job, log: io.MultiWriter(os.Stdout, log)}
	err = w.run(ctx)
	var early ended
	switch {
	case errors.As(context.Cause(ctx), &early) && string(early) == runnerapp.Success:
		return exitSucceeded
	case ctx.Err() != nil:
		return exitCancelled
	case err != nil:
		fmt.Fprintln(w.log, err)
		return exitFailed
	}
	return exitSucceeded
}

// ended is why a job did not run to its end.
type ended string

func (e ended) Error() string { return "the job was ended: " + string(e) }

// worker does one job.
type worker struct {
	root string
	job  runnerapp.Job
	log  io.Writer
}

func (w worker) run(ctx context.Context) error {
	workspace, event, err := w.prepare()
	if err != nil {
		return fmt.Errorf("cannot prepare the job: %w", err)
	}
	environment := append(os.Environ(), w.job.Environment(hostname(), workspace, event)...)
	hook := func(variable string) error {
		script := os.Getenv(variable)
		if script == "" {
			return nil
		}
		fmt.Fprintf(w.log, "A job hook has been configured by %s: %s\n", variable, script)
		return w.bash(ctx, workspace, environment, script)
	}
	if err := hook("ACTIONS_RUNNER_HOOK_JOB_STARTED"); err != nil {
		// GitHub's application goes on with the steps that always run.
		return errors.Join(fmt.Errorf("the hook before the job failed: %w", err), w.script(ctx, workspace, environment, w.job.Always))
	}
	stepErr := errors.Join(w.step(ctx, workspace, environment), w.script(ctx, workspace, environment, w.job.Always))
	if err := hook("ACTIONS_RUNNER_HOOK_JOB_COMPLETED"); err != nil {
		return errors.Join(stepErr, fmt.Errorf("the hook after the job failed: %w", err))
	}
	return stepErr
}

// prepare makes the work folder as GitHub's application has it, with the event.
func (w worker) prepare() (workspace, event string, err error) {
	name := path.Base(path.Clean("/" + w.job.Repository))
	workspace = filepath.Join(w.root, "_work", name, name)
	event = filepath.Join(w.root, "_work", "_temp", "_github_workflow", "event.json")
	for _, dir := range []string{workspace, filepath.Dir(event)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", "", err
		}
	}
	return workspace, event, os.WriteFile(event, w.job.EventPayload, 0o644)
}

func (w worker) step(ctx context.Context, workspace string, environment []string) error {
	if w.job.Script != "" {
		return w.script(ctx, workspace, environment, w.job.Script)
	}
	timer := time.NewTimer(w.job.Duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// script runs a step, which GitHub's application writes into a file of its folder
// for temporary ones; "" is none.
func (w worker) script(ctx context.Context, workspace string, environment []string, text string) error {
	if text == "" {
		return nil
	}
	file, err := os.CreateTemp(filepath.Join(w.root, "_work", "_temp"), "*.sh")
	if err != nil {
		return err
	}
	if _, err = file.WriteString(text); err == nil {
		err = file.Close()
	}
	if err != nil {
		return err
	}
	return w.bash(ctx, workspace, environment, file.Name())
}

// bash runs a script that ends, with all its processes, when ctx does.
func (w worker) bash(ctx context.Context, dir string, environment []string, script string) error {
	cmd := exec.CommandContext(ctx, "bash", "-e", script)
	cmd.Dir = dir
	cmd.Env = environment
	cmd.Stdout, cmd.Stderr = w.log, w.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(script), err)
	}
	return nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
