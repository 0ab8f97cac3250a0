package juju

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// toolCall is one call of a hook tool. The server's lock is held during it.
type toolCall struct {
	server *Server
	hc     *hookContext
	flags  *flag.FlagSet
	format *string
	args   []string
	// dir is where the tool was called: paths start there.
	dir string
	// input is what came in by standard input.
	input string
	out   strings.Builder
}

// hookTool is one row of the table of hook tools: declare names its flags and
// returns what runs once they are read.
type hookTool func(c *toolCall) func() error

// hookTools are the tools that the stand-in has. Under any other name there is
// no file on PATH, so that a shell says 127.
var hookTools = map[string]hookTool{
	"action-fail":             toolActionFail,
	"action-get":              toolActionGet,
	"action-log":              toolActionLog,
	"action-set":              toolActionSet,
	"application-version-set": toolApplicationVersionSet,
	"config-get":              toolConfigGet,
	"goal-state":              toolGoalState,
	"is-leader":               toolIsLeader,
	"juju-log":                toolJujuLog,
	"relation-get":            toolRelationGet,
	"relation-ids":            toolRelationIDs,
	"relation-list":           toolRelationList,
	"relation-set":            toolRelationSet,
	"secret-get":              toolSecretGet,
	"secret-info-get":         toolSecretInfoGet,
	"state-delete":            toolStateDelete,
	"state-get":               toolStateGet,
	"state-set":               toolStateSet,
	"status-get":              toolStatusGet,
	"status-set":              toolStatusSet,
	"storage-get":             toolStorageGet,
	"storage-list":            toolStorageList,
	"unit-get":                toolUnitGet,
}

// errUsage is what a tool exits with 2 for.
type errUsage struct{ error }

func usagef(format string, args ...any) error {
	return errUsage{fmt.Errorf(format, args...)}
}

// runTool runs a hook tool for the process that the context belongs to.
func (s *Server) runTool(request toolRequest) toolResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	hc := s.contexts[request.Context]
	declare := hookTools[request.Tool]
	if hc == nil || declare == nil {
		return toolResponse{Stderr: fmt.Sprintf("ERROR bad request: unknown context %q or tool %q\n", request.Context, request.Tool), Code: 1}
	}
	c := &toolCall{server: s, hc: hc, dir: request.Dir, input: request.Input, flags: flag.NewFlagSet(request.Tool, flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	err := c.run(declare, request.Args)
	var usage errUsage
	switch {
	case err == nil:
		return toolResponse{Stdout: c.out.String()}
	case errors.As(err, &usage):
		return toolResponse{Stderr: fmt.Sprintf("ERROR %v\n", err), Code: 2}
	default:
		return toolResponse{Stderr: fmt.Sprintf("ERROR %v\n", err), Code: 1}
	}
}

func (c *toolCall) run(declare hookTool, args []string) error {
	run := declare(c)
	var err error
	if c.args, err = parseMixed(c.flags, args); err != nil {
		return errUsage{err}
	}
	return run()
}

// parseMixed reads flags that may stand between the other arguments, until "--".
func parseMixed(flags *flag.FlagSet, args []string) ([]string, error) {
	var rest, behind []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, behind = args[:i], args[i+1:]
	}
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return append(rest, behind...), nil
		}
		rest = append(rest, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

// formatted adds the flag --format to a tool.
func (c *toolCall) formatted() {
	c.format = c.flags.String("format", "smart", "")
}

// print prints a value in the wanted format.
func (c *toolCall) print(value any) error {
	switch *c.format {
	case "json":
		content, err := json.Marshal(value)
		if err != nil {
			return err
		}
		c.out.Write(content)
		c.out.WriteByte('\n')
		return nil
	case "yaml":
		return c.printYAML(value)
	case "smart":
		return c.printSmart(value)
	default:
		return usagef("invalid value %q for option --format: unknown format %q", *c.format, *c.format)
	}
}

func (c *toolCall) printSmart(value any) error {
	switch v := value.(type) {
	case nil:
	case string:
		if v != "" {
			fmt.Fprintln(&c.out, v)
		}
	case bool:
		fmt.Fprintln(&c.out, map[bool]string{true: "True", false: "False"}[v])
	case []string:
		for _, element := range v {
			fmt.Fprintln(&c.out, element)
		}
	default:
		return c.printYAML(value)
	}
	return nil
}

func (c *toolCall) printYAML(value any) error {
	content, err := yaml.Marshal(value)
	c.out.Write(content)
	return err
}

// one returns the only argument, which may be missing when optional.
func (c *toolCall) one(what string, optional bool) (string, error) {
	switch {
	case len(c.args) > 1:
		return "", usagef("unrecognized args: %q", c.args[1:])
	case len(c.args) == 1:
		return c.args[0], nil
	case optional:
		return "", nil
	default:
		return "", usagef("no %s specified", what)
	}
}

func toolConfigGet(c *toolCall) func() error {
	c.formatted()
	all := c.flags.Bool("all", false, "")
	return func() error {
		key, err := c.one("key", true)
		if err != nil {
			return err
		}
		if key != "" && key != "-" {
			return c.print(c.hc.config[key])
		}
		values := maps.Clone(c.hc.config)
		for name := range c.hc.app.Charm.Options {
			if _, set := values[name]; !set && *all {
				values[name] = nil
			}
		}
		return c.print(values)
	}
}

func toolStatusSet(c *toolCall) func() error {
	application := c.flags.Bool("application", false, "")
	return func() error {
		if len(c.args) == 0 {
			return usagef("invalid args, require <status> [message]")
		}
		if !slices.Contains([]string{"maintenance", "blocked", "waiting", "active"}, c.args[0]) {
			return usagef("invalid status %q, expected one of [maintenance blocked waiting active]", c.args[0])
		}
		if *application {
			return errors.New("setting application status is not supported here")
		}
		c.hc.setStatus(c.args[0], strings.Join(c.args[1:], " "))
		c.server.update()
		return nil
	}
}

func toolStatusGet(c *toolCall) func() error {
	c.formatted()
	data := c.flags.Bool("include-data", false, "")
	return func() error {
		current := c.hc.unit.Status
		if !*data {
			return c.print(map[string]any{"status": current.Current})
		}
		return c.print(map[string]any{"status": current.Current, "message": current.Message, "status-data": map[string]any{}})
	}
}

func toolApplicationVersionSet(c *toolCall) func() error {
	return func() error {
		version, err := c.one("version", false)
		if err != nil {
			return err
		}
		c.hc.app.Version = version
		c.server.update()
		return nil
	}
}

func toolIsLeader(c *toolCall) func() error {
	c.formatted()
	return func() error {
		return c.print(c.hc.app.leader() == c.hc.unit)
	}
}

func toolJujuLog(c *toolCall) func() error {
	level := "INFO"
	c.flags.StringVar(&level, "l", level, "")
	c.flags.StringVar(&level, "log-level", level, "")
	debug := c.flags.Bool("debug", false, "")
	return func() error {
		if len(c.args) == 0 {
			return usagef("no message specified")
		}
		if *debug {
			level = "DEBUG"
		}
		upper := strings.ToUpper(level)
		if !slices.Contains(levels, upper) {
			upper = "INFO"
		}
		c.server.logFile.write(c.hc.unit.tag(), upper, c.hc.module, strings.Join(c.args, " "))
		return nil
	}
}

func toolUnitGet(c *toolCall) func() error {
	c.formatted()
	return func() error {
		setting, err := c.one("setting", false)
		if err != nil {
			return err
		}
		if setting != "private-address" && setting != "public-address" {
			return usagef("unknown setting %q", setting)
		}
		return c.print(machineAddress)
	}
}

var actionKey = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

var errNoAction = errors.New("not running an action")

func toolActionGet(c *toolCall) func() error {
	c.formatted()
	return func() error {
		key, err := c.one("key", true)
		if err != nil {
			return err
		}
		if c.hc.job.task == nil {
			return errNoAction
		}
		params := c.hc.job.task.Params
		if key == "" {
			return c.print(params)
		}
		var value any = params
		for part := range strings.SplitSeq(key, ".") {
			inner, _ := value.(map[string]any)
			value = inner[part]
		}
		return c.print(value)
	}
}

func toolActionSet(c *toolCall) func() error {
	return func() error {
		if c.hc.job.task == nil {
			return errNoAction
		}
		reserved := []string{"return-code", "stdout", "stdout-encoding", "stderr", "stderr-encoding"}
		for _, arg := range c.args {
			path, _, ok := strings.Cut(arg, "=")
			if !ok {
				return usagef("argument %q must be of the form key...=value", arg)
			}
			if slices.Contains(reserved, path) {
				return usagef("cannot set reserved action key %q", path)
			}
			for part := range strings.SplitSeq(path, ".") {
				if !actionKey.MatchString(part) {
					return usagef("key %q must start and end with lowercase alphanumeric, and contain only lowercase alphanumeric and hyphens", part)
				}
			}
		}
		for _, arg := range c.args {
			path, value, _ := strings.Cut(arg, "=")
			if err := nest(c.hc.results, path, value); err != nil {
				return usagef("%w", err)
			}
		}
		return nil
	}
}

func toolActionFail(c *toolCall) func() error {
	return func() error {
		message, err := c.one("message", true)
		if err != nil {
			return err
		}
		if c.hc.job.task == nil {
			return errNoAction
		}
		if message == "" {
			message = "action failed without reason given, check action for errors"
		}
		c.hc.failure = &message
		return nil
	}
}

func toolActionLog(c *toolCall) func() error {
	return func() error {
		if len(c.args) == 0 {
			return usagef("no message specified")
		}
		t := c.hc.job.task
		if t == nil {
			return errNoAction
		}
		t.log(strings.Join(c.args, " "))
		c.server.update()
		return nil
	}
}
