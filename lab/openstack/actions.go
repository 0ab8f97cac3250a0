package openstack

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github-runner/lab/clock"
)

// action is something that a server is asked to do.
type action struct {
	// from are the states in which it may be; nil: it may be at any time.
	from []string
	do   func(s *Server, c call, v *server, body json.RawMessage) (answer, error)
}

// actions are what servers can be asked for, by name.
var actions = map[string]action{
	"os-start":            {[]string{vmStopped}, powerAction("powering-on", true)},
	"os-stop":             {[]string{vmActive, vmError}, powerAction("powering-off", false)},
	"reboot":              {[]string{vmActive, vmStopped, vmError}, powerAction("rebooting", true)},
	"createImage":         {[]string{vmActive, vmStopped}, (*Server).createImage},
	"os-getConsoleOutput": {nil, (*Server).showConsole},
}

func (s *Server) postAction(c call) (answer, error) {
	var post map[string]json.RawMessage
	if err := decode(c, &post); err != nil {
		return answer{}, err
	}
	if len(post) != 1 {
		return answer{}, refuse(http.StatusBadRequest, "There is no such action: %v", slices.Sorted(maps.Keys(post)))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findServer(c)
	if err != nil {
		return answer{}, err
	}
	for name, body := range post {
		asked, ok := actions[name]
		if !ok {
			return answer{}, refuse(http.StatusBadRequest, "There is no such action: %s", name)
		}
		if err := v.may(name, asked); err != nil {
			return answer{}, err
		}
		return asked.do(s, c, v, body)
	}
	return answer{}, nil // there was one
}

// may refuses what a server can't do as it is.
func (v *server) may(name string, asked action) error {
	switch {
	case asked.from == nil:
		return nil
	case v.taskState != "":
		return refuse(http.StatusConflict, "Cannot '%s' instance %s while it is in task_state %s", spoken(name), v.id, v.taskState)
	case !slices.Contains(asked.from, v.vmState):
		return refuse(http.StatusConflict, "Cannot '%s' instance %s while it is in vm_state %s", spoken(name), v.id, v.vmState)
	}
	return nil
}

// spoken is an action's name in Nova's texts.
func spoken(name string) string {
	switch name {
	case "os-start":
		return "start"
	case "os-stop":
		return "stop"
	}
	return name
}

// powerAction switches a server off, and on again where on is set, which takes its
// time.
func powerAction(task string, on bool) func(*Server, call, *server, json.RawMessage) (answer, error) {
	return func(s *Server, _ call, v *server, _ json.RawMessage) (answer, error) {
		v.become(v.vmState, task)
		go func() {
			if clock.Pause(v.life, s.options.Timing.Power) == nil {
				s.with(v, func() { s.switchOver(v, on) })
			}
		}()
		return answer{status: http.StatusAccepted}, nil
	}
}

// switchOver is the end of a power action; s.mu is held.
func (s *Server) switchOver(v *server, on bool) {
	v.powerOff()
	if on {
		s.powerOn(v)
		return
	}
	v.become(vmStopped, "")
}

// showConsole shows the last lines that a guest printed; s.mu is held.
func (s *Server) showConsole(_ call, v *server, body json.RawMessage) (answer, error) {
	var wanted struct {
		Length *int `json:"length"`
	}
	if err := json.Unmarshal(body, &wanted); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "Malformed request body: %v", err)
	}
	if v.vmState == vmBuilding {
		return answer{}, refuse(http.StatusConflict, "Instance %s is not ready", v.id)
	}
	lines := v.console
	if wanted.Length != nil && *wanted.Length >= 0 && *wanted.Length < len(lines) {
		lines = lines[len(lines)-*wanted.Length:]
	}
	return answer{body: object{"output": strings.Join(lines, "\n")}}, nil
}

// createImage makes an image of a server; s.mu is held.
func (s *Server) createImage(c call, v *server, body json.RawMessage) (answer, error) {
	var wanted struct {
		Name     string            `json:"name"`
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(body, &wanted); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "Malformed request body: %v", err)
	}
	if err := checkText("name", wanted.Name, 1, maxText); err != nil {
		return answer{}, err
	}
	if err := checkMetadata(wanted.Metadata); err != nil {
		return answer{}, err
	}
	i := s.snapshot(v, wanted.Name, wanted.Metadata)
	location := fmt.Sprintf("%s%s/v2/images/%s", c.base(), imagePath, i.id)
	if c.minor < 45 {
		return answer{status: http.StatusAccepted, header: http.Header{"Location": {location}}}, nil
	}
	return answer{status: http.StatusAccepted, body: object{"image_id": i.id}}, nil
}

func (s *Server) getMetadata(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findServer(c)
	if err != nil {
		return answer{}, err
	}
	return answer{body: object{"metadata": v.allMetadata()}}, nil
}

func (v *server) allMetadata() map[string]string {
	if v.metadata == nil {
		return map[string]string{}
	}
	return v.metadata
}

// postMetadata adds to a server's metadata.
func (s *Server) postMetadata(c call) (answer, error) {
	var post struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := decode(c, &post); err != nil {
		return answer{}, err
	}
	if err := checkMetadata(post.Metadata); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findServer(c)
	if err != nil {
		return answer{}, err
	}
	merged := maps.Clone(v.allMetadata())
	maps.Copy(merged, post.Metadata)
	if limit := c.project().Quota.MetadataItems; !within(limit, len(merged)) {
		return answer{}, refuse(http.StatusForbidden, "Maximum number of metadata items exceeds %d", limit)
	}
	v.metadata = merged
	return answer{body: object{"metadata": merged}}, nil
}
