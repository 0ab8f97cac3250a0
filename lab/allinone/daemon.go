package allinone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	pollInterval = 100 * time.Millisecond
	// stepTimeout is how long one step of the start may take on a busy machine.
	stepTimeout = 5 * time.Minute
	callTimeout = 10 * time.Second
)

// daemon is a program of the stack that runs to its end.
type daemon struct {
	name string
	argv []string
	env  []string
}

// start starts a daemon with its output in its log. Its end is the end of the stack.
func (s *Stack) start(d daemon) error {
	cmd, log, err := s.command(d)
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", d.name, err)
	}
	defer log.Close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", d.name, err)
	}
	go func() {
		err := cmd.Wait()
		s.fail(fmt.Errorf("%s ended (%v): %s", d.name, err, lastLines(log.Name())))
	}()
	return nil
}

// do runs a program that ends by itself; its output goes to a log of that name.
func (s *Stack) do(ctx context.Context, name string, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	cmd, log, err := s.command(daemon{name: name, argv: argv})
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	defer log.Close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run %s: %w", argv[0], err)
	}
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("cannot run %s: %w", strings.Join(argv[:min(len(argv), 4)], " "), errors.Join(err, context.Cause(ctx), errors.New(lastLines(log.Name()))))
	}
	return nil
}

// command is a program in a process group of its own, with the system's programs
// first in $PATH: another Python may be on the machine.
func (s *Stack) command(d daemon) (*exec.Cmd, *os.File, error) {
	log, err := os.OpenFile(filepath.Join(s.Logs, d.name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(d.argv[0], d.argv[1:]...)
	if path, err := lookPath(d.argv[0]); err == nil {
		cmd.Path = path
		cmd.Err = nil
	}
	cmd.Env = append(os.Environ(), "PATH="+systemPath, "LC_ALL=C.UTF-8", "HOME="+s.State, "TMPDIR="+filepath.Join(s.State, "tmp"))
	cmd.Env = append(cmd.Env, d.env...)
	cmd.Dir = s.State
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, log, nil
}

// systemPath is where the programs of the system's packages are.
const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// lookPath finds a program among those of the system.
func lookPath(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(systemPath) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find %s in %s: %w", name, systemPath, exec.ErrNotFound)
}

// await asks again and again until something is there.
func (s *Stack) await(ctx context.Context, what string, there func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := there(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot reach %s: %w", what, errors.Join(context.Cause(ctx), err))
		case <-tick.C:
		}
	}
}

// listens reports whether something takes connections at an address.
func listens(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: callTimeout}).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// answers reports whether a service answers a request as one that works.
func answers(url string) func(context.Context) error {
	client := &http.Client{Timeout: callTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("%s answers %s", url, response.Status)
		}
		return nil
	}
}

// lastLines is the end of a log, for an error.
func lastLines(path string) string {
	const most = 4 << 10
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > most {
		if _, err := file.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ") + " (" + path + ")"
}
