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
	"path/filepath"
	"strings"
	"time"

	"github-runner/lab/runnerapp"
)

const (
	jitVariable = "ACTIONS_RUNNER_INPUT_JITCONFIG"
	// finishTime bounds how long the end of a job is reported for.
	finishTime = 30 * time.Second
	// endTime is what a worker gets to end by itself.
	endTime = 5 * time.Second
)

// listen is the life of Runner.Listener; it returns the exit code.
func listen(ctx context.Context, root string, args []string) int {
	log, err := openLog(root, "Runner")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitTerminated
	}
	defer log.Close()
	say := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		fmt.Println(text)
		fmt.Fprintf(log, "[%s INFO Listener] %s\n", time.Now().UTC().Format(time.RFC3339), text)
	}
	if err := loadEnvironment(filepath.Join(root, ".env")); err != nil {
		say("cannot read .env: %v", err)
		return exitTerminated
	}
	jit, err := jitConfiguration(args)
	if err != nil {
		say("%v", err)
		return exitTerminated
	}
	session, err := runnerapp.Open(jit)
	if err != nil {
		say("%v", err)
		return exitTerminated
	}
	if err := session.Online(ctx); err != nil {
		say("%v", err)
		return codeOf(err)
	}
	defer session.Close()
	say("Connected to GitHub")
	say("Current runner version: '%s'", runnerapp.Version)
	say("%s: Listening for jobs", time.Now().UTC().Format("2006-01-02 15:04:05Z"))
	job, err := session.NextJob(ctx)
	if err != nil {
		say("%v", err)
		return codeOf(err)
	}
	say("%s: Running job: %s", time.Now().UTC().Format("2006-01-02 15:04:05Z"), job.Name)
	conclusion := runWorker(ctx, root, session, job, log)
	say("%s: Job %s completed with result: %s", time.Now().UTC().Format("2006-01-02 15:04:05Z"), job.Name, conclusion)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	if err := finish(ctx, session, job, conclusion); err != nil {
		say("%v", err)
		return exitTerminated
	}
	return exitDone
}

// finish reports the job's end until GitHub has heard it.
func finish(ctx context.Context, session *runnerapp.Session, job runnerapp.Job, conclusion string) error {
	for {
		err := session.Finish(ctx, job.ID, conclusion)
		if err == nil || errors.Is(err, runnerapp.ErrGone) {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func codeOf(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return exitDone
	case errors.Is(err, runnerapp.ErrGone):
		return exitTerminated
	case errors.Is(err, runnerapp.ErrConflict):
		return exitConflict
	}
	return exitRetry
}

// jitConfiguration takes the configuration from the arguments, else from the
// environment, where the job is not to find it.
func jitConfiguration(args []string) (string, error) {
	fromEnvironment := os.Getenv(jitVariable)
	if err := os.Unsetenv(jitVariable); err != nil {
		return "", err
	}
	for i, arg := range args {
		if arg == "--jitconfig" && i+1 < len(args) {
			return args[i+1], nil
		}
		if value, ok := strings.CutPrefix(arg, "--jitconfig="); ok {
			return value, nil
		}
	}
	if fromEnvironment == "" {
		return "", errors.New("not configured: there is no JIT configuration")
	}
	return fromEnvironment, nil
}

// loadEnvironment sets the variables of a .env file: NAME=value, one a line,
// without quoting.
func loadEnvironment(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if !ok || name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("cannot set %q: %w", name, err)
		}
	}
	return nil
}

// runWorker runs Runner.Worker for the job and returns the conclusion. What the
// worker prints is the job's log.
func runWorker(ctx context.Context, root string, session *runnerapp.Session, job runnerapp.Job, log io.Writer) string {
	worker := exec.Command(filepath.Join(root, "bin", "Runner.Worker"), "spawnclient")
	worker.Dir = root
	orders, err := worker.StdinPipe()
	if err != nil {
		fmt.Fprintln(log, err)
		return runnerapp.Failure
	}
	var output lastBytes
	worker.Stdout, worker.Stderr = &output, &output
	if err := worker.Start(); err != nil {
		fmt.Fprintln(log, err)
		return runnerapp.Failure
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Wait() }()
	if err := json.NewEncoder(orders).Encode(job); err != nil {
		fmt.Fprintln(log, err)
	}
	early := ""
	select {
	case <-ended:
	case early = <-session.End(job.ID):
		endWorker(worker, orders, early, ended)
	case <-ctx.Done():
		early = runnerapp.Cancelled
		endWorker(worker, orders, early, ended)
	}
	if err := session.Log(context.WithoutCancel(ctx), job.ID, output.String()); err != nil {
		fmt.Fprintln(log, err)
	}
	if early != "" {
		return early
	}
	return map[int]string{
		exitSucceeded: runnerapp.Success,
		exitFailed:    runnerapp.Failure,
		exitCancelled: runnerapp.Cancelled,
	}[worker.ProcessState.ExitCode()]
}

// endWorker tells the worker to end, and ends it if it does not.
func endWorker(worker *exec.Cmd, orders io.Writer, how string, ended <-chan error) {
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	w := bufio.NewWriter(orders)
	fmt.Fprintln(w, how)
	if err := w.Flush(); err != nil {
		_ = worker.Process.Kill() // it can't be told any more
	}
	select {
	case <-ended:
	case <-timer.C:
		_ = worker.Process.Kill()
		<-ended
	}
}

// lastBytes keeps the end of what is written to it.
type lastBytes struct {
	kept []byte
}

const lastBytesSize = 16 << 10

func (l *lastBytes) Write(p []byte) (int, error) {
	l.kept = append(l.kept, p...)
	l.kept = l.kept[max(0, len(l.kept)-lastBytesSize):]
	return len(p), nil
}

func (l *lastBytes) String() string { return string(l.kept) }

// openLog makes one file of the _diag folder.
func openLog(root, process string) (*os.File, error) {
	dir := filepath.Join(root, "_diag")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot write logs: %w", err)
	}
	name := process + "_" + time.Now().UTC().Format("20060102-150405") + "-utc.log"
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot write logs: %w", err)
	}
	return file, nil
}
