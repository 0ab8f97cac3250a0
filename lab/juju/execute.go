package juju

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endDelay is how long a process has after SIGTERM, and how long a child of one
// that ended may hold its output.
const endDelay = 5 * time.Second

// job is one process that an agent runs: a hook, an action or a command.
type job struct {
	hook operation
	task *task
	path string
	args []string
}

// execution is a process that runs.
type execution struct {
	process *os.Process
	name    string
	done    chan struct{}
}

type outcome struct {
	code           int
	signal         syscall.Signal
	stdout, stderr bytes.Buffer
}

// name is what the debug log calls the job.
func (j job) name() string {
	if j.task != nil {
		return j.task.Action
	}
	return j.hook.Hook
}

// execute runs a job in Juju's environment and waits for its end. What the
// process set in the model is kept if it exits with 0.
func (s *Server) execute(ctx context.Context, g *agent, j job) (outcome, error) {
	var result outcome
	hc := s.openContext(g, j)
	defer s.closeContext(hc)

	cmd := exec.CommandContext(ctx, j.path, j.args...)
	cmd.Dir = g.charmDir(s)
	cmd.Env = s.environment(g, j, hc.id)
	cmd.WaitDelay = endDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if j.task != nil {
		cmd.Stdout, cmd.Stderr = &result.stdout, &result.stderr
	} else {
		module := "unit." + g.unit.Name + "." + j.hook.Hook
		out := s.logFile.writer(g.unit.tag(), "DEBUG", module)
		problems := s.logFile.writer(g.unit.tag(), "WARNING", module)
		defer out.Close()
		defer problems.Close()
		cmd.Stdout, cmd.Stderr = out, problems
	}
	if err := cmd.Start(); err != nil {
		return result, fmt.Errorf("cannot start %s: %w", j.name(), err)
	}
	running := &execution{process: cmd.Process, name: j.name(), done: make(chan struct{})}
	s.setRunning(g, running)
	err := cmd.Wait()
	s.setRunning(g, nil)
	close(running.done)

	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		s.keep(hc)
		return result, nil
	case errors.As(err, &exit):
		result.code = exit.ExitCode()
		if wait, ok := exit.Sys().(syscall.WaitStatus); ok && wait.Signaled() {
			result.signal = wait.Signal()
		}
		return result, nil
	default:
		return result, fmt.Errorf("cannot run %s: %w", j.name(), err)
	}
}

func (s *Server) setRunning(g *agent, e *execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.running = e
	s.update()
}

// killHooks kills what runs on a unit, or on all, and waits for its end.
func (s *Server) killHooks(ctx context.Context, unitName string) ([]string, error) {
	s.mu.Lock()
	var victims []*execution
	killed := []string{}
	for u, g := range s.agents {
		if g.running == nil || unitName != "" && u.Name != unitName {
			continue
		}
		if err := g.running.process.Kill(); err == nil {
			victims = append(victims, g.running)
			killed = append(killed, u.Name+" "+g.running.name)
		}
	}
	s.mu.Unlock()
	for _, v := range victims {
		select {
		case <-v.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot wait for the end of %s: %w", v.name, ctx.Err())
		}
	}
	return killed, nil
}

// environment is exactly what Juju gives a hook of a machine charm, and the
// lab's own variables.
func (s *Server) environment(g *agent, j job, contextID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	charmDir := g.charmDir(s)
	env := []string{
		"APT_LISTCHANGES_FRONTEND=none",
		"DEBIAN_FRONTEND=noninteractive",
		"LANG=C.UTF-8",
		"TERM=tmux-256color",
		"PATH=" + s.path("tools") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"CHARM_DIR=" + charmDir,
		"JUJU_CHARM_DIR=" + charmDir,
		"CLOUD_API_VERSION=",
		"JUJU_CONTEXT_ID=" + contextID,
		"JUJU_AGENT_SOCKET_ADDRESS=" + SocketPath(s.options.Dir),
		"JUJU_AGENT_SOCKET_NETWORK=unix",
		"JUJU_UNIT_NAME=" + g.unit.Name,
		"JUJU_MODEL_NAME=" + g.model.Name,
		"JUJU_MODEL_UUID=" + g.model.UUID,
		"JUJU_API_ADDRESSES=127.0.0.1:17070",
		"JUJU_MACHINE_ID=" + machineID,
		"JUJU_PRINCIPAL_UNIT=",
		"JUJU_AVAILABILITY_ZONE=",
		"JUJU_VERSION=" + Version,
		"JUJU_CHARM_HTTP_PROXY=" + g.model.option("juju-http-proxy"),
		"JUJU_CHARM_HTTPS_PROXY=" + g.model.option("juju-https-proxy"),
		"JUJU_CHARM_FTP_PROXY=" + g.model.option("juju-ftp-proxy"),
		"JUJU_CHARM_NO_PROXY=" + g.model.option("juju-no-proxy"),
		"JUJU_CHARM_TRACE_CONFIG_HTTP=",
		"JUJU_CHARM_TRACE_CONFIG_GRPC=",
		"JUJU_CHARM_TRACE_CONFIG_CA_CERT=",
	}
	env = append(env, g.model.plainProxies()...)
	switch {
	case j.task == nil:
		env = append(env, "JUJU_HOOK_NAME="+j.hook.Hook, "JUJU_DISPATCH_PATH=hooks/"+j.hook.Hook)
		env = append(env, j.hook.Variables...)
	default:
		id := strconv.Itoa(j.task.ID)
		env = append(env, "JUJU_HOOK_NAME=", "JUJU_ACTION_NAME="+j.task.Action, "JUJU_ACTION_UUID="+id, "JUJU_ACTION_TAG=action-"+id)
		if j.task.Action != commandAction {
			env = append(env, "JUJU_DISPATCH_PATH=actions/"+j.task.Action)
		}
	}
	return append(env, s.options.Variables...)
}

// plainProxies are the variables that the legacy proxy options of a model lead
// to.
func (m *model) plainProxies() []string {
	var env []string
	for _, option := range []string{"http-proxy", "https-proxy", "ftp-proxy", "no-proxy"} {
		value := m.Config[option]
		if value == "" {
			continue
		}
		name := strings.ReplaceAll(option, "-", "_")
		env = append(env, name+"="+value, strings.ToUpper(name)+"="+value)
	}
	return env
}

func newContextID(g *agent, j job) string {
	var random [16]byte
	rand.Read(random[:]) // never fails, by its contract
	return g.unit.Name + "-" + j.name() + "-" + hex.EncodeToString(random[:])
}

// describe says how a process that did not exit with 0 ended, as Juju says it.
func (o outcome) describe() string {
	if o.signal != 0 {
		return "signal: " + unix.SignalName(o.signal)
	}
	return fmt.Sprintf("exit status %d", o.code)
}
