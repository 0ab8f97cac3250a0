package lxd

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/cloudinit"
	"github-runner/lab/clock"
	"github-runner/lab/guests"
)

// execLogs is where an instance keeps what commands printed.
const execLogs = "/.lxd-logs/"

// output is how a command of a guest ended. A negative code is one that ended
// with the guest.
type output struct {
	stdout string
	code   int
}

var notACommand = output{code: 127}

// commands are all programs of a guest.
var commands = map[string]func(ctx context.Context, s *Server, i *instance, args []string) output{
	"true":  func(context.Context, *Server, *instance, []string) output { return output{} },
	"false": func(context.Context, *Server, *instance, []string) output { return output{code: 1} },
	"echo": func(_ context.Context, _ *Server, _ *instance, args []string) output {
		return output{stdout: strings.Join(args, " ") + "\n"}
	},
	"cat":       cat,
	"test":      test,
	"sleep":     sleep,
	"systemctl": systemctl,
	"pkill":     pkill,
	"pgrep":     pgrep,
}

func (s *Server) postExec(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	var post api.InstanceExecPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	switch {
	case !i.running:
		return answer{}, refuse(http.StatusBadRequest, "Instance is not running")
	case post.WaitForWS || post.Interactive:
		return answer{}, refuse(http.StatusNotImplemented, "the emulated LXD runs no commands that talk by websockets")
	}
	return answer{operation: s.operations.begin("Executing command", i.resources(), func(ctx context.Context) (map[string]any, error) {
		return s.exec(ctx, i, post)
	})}, nil
}

// exec is the operation that runs a command.
func (s *Server) exec(ctx context.Context, i *instance, post api.InstanceExecPost) (map[string]any, error) {
	s.events.lifecycle("instance-exec", "instances/"+i.Name, map[string]any{"command": post.Command}, false)
	if s.faults.Take(ExecHangs, i.Name) != nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	s.mu.Lock()
	unreachable := i.reachable()
	s.mu.Unlock()
	if unreachable != nil {
		return nil, unreachable
	}
	result := notACommand
	if len(post.Command) > 0 {
		if run := commands[path.Base(post.Command[0])]; run != nil {
			result = run(ctx, s, i, post.Command[1:])
		}
	}
	metadata := map[string]any{"return": result.code}
	if post.RecordOutput {
		metadata["output"] = s.recordOutput(i, result)
	}
	if result == notACommand {
		return metadata, says("Command not found")
	}
	return metadata, nil
}

func (s *Server) recordOutput(i *instance, result output) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := newUUID()
	paths := make(map[string]string)
	for number, stream := range map[string]struct{ name, content string }{"1": {"stdout", result.stdout}, "2": {"stderr", ""}} {
		file := "exec_" + id + "." + stream.name
		i.Files[execLogs+file] = stream.content
		paths[number] = "/1.0/instances/" + i.Name + "/logs/" + file
	}
	return paths
}

func (s *Server) getLogs(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	paths := []string{}
	for _, name := range append(entriesOf(i.Files, execLogs), "lxc.conf", "lxc.log") {
		paths = append(paths, "/1.0/instances/"+i.Name+"/logs/"+name)
	}
	return answer{metadata: paths}, nil
}

func (s *Server) getLog(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	name := r.PathValue("file")
	content, ok := i.Files[execLogs+name]
	if !ok && !slices.Contains([]string{"lxc.conf", "lxc.log"}, name) {
		return answer{}, refuse(http.StatusNotFound, "Not Found")
	}
	return answer{serve: func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(w, content)
	}}, nil
}

func cat(_ context.Context, s *Server, i *instance, args []string) output {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all output
	tree := i.tree()
	for _, file := range args {
		content, ok := tree[path.Clean(file)]
		if !ok {
			all.code = 1
		}
		all.stdout += content
	}
	return all
}

func test(_ context.Context, s *Server, i *instance, args []string) output {
	if len(args) != 2 || args[0] != "-e" && args[0] != "-f" {
		return output{code: 2}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if name, ok := strings.CutPrefix(args[1], cloudinit.ExchangeDir+"/"); ok && i.guest != nil && i.guest.Left(name) {
		return output{}
	}
	if _, ok := i.tree()[path.Clean(args[1])]; ok {
		return output{}
	}
	return output{code: 1}
}

func sleep(ctx context.Context, _ *Server, _ *instance, args []string) output {
	var seconds float64
	if len(args) != 1 {
		return output{code: 1}
	}
	if _, err := fmt.Sscanf(args[0], "%g", &seconds); err != nil {
		return output{code: 1}
	}
	if clock.Pause(ctx, time.Duration(seconds*float64(time.Second))) != nil {
		return output{code: guests.Killed}
	}
	return output{}
}

func systemctl(_ context.Context, s *Server, i *instance, args []string) output {
	switch {
	case slices.Contains(args, "poweroff"):
		s.mu.Lock()
		g := i.guest
		s.mu.Unlock()
		if g != nil {
			time.AfterFunc(s.options.Timing.PowerOff, func() { s.shutDown(i, g) })
		}
	case slices.Contains(args, "reboot"):
		time.AfterFunc(s.options.Timing.PowerOff, func() { _ = s.reboot(i.Name) })
	case slices.Contains(args, "is-system-running"):
		return output{stdout: "running\n"}
	}
	return output{}
}

// pkill knows the processes of the runner application.
func pkill(_ context.Context, s *Server, i *instance, args []string) output {
	if !slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "Runner") }) {
		return output{code: 1}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.guest == nil {
		return output{code: 1}
	}
	i.guest.kill()
	return output{}
}

// pgrep tells whether a job is at work.
func pgrep(_ context.Context, s *Server, i *instance, args []string) output {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.guest != nil && i.guest.runner.AtWork() && slices.Contains(args, "Runner.Worker") {
		return output{stdout: "1234\n"}
	}
	return output{code: 1}
}
