package juju

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// commandRequest is a command of the operator's, as it was typed.
type commandRequest struct {
	Args []string `json:"args"`
	// Dir is where it was typed: paths start there.
	Dir string `json:"dir"`
	// Terminal: its output is a terminal.
	Terminal bool `json:"terminal"`
}

// commandOutput is a piece of a command's output, or, at the end, its exit
// status.
type commandOutput struct {
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
	Exit   *int   `json:"exit,omitempty"`
}

// Run runs one command, such as "status --format json", on the server of a lab's
// directory, and returns its exit status. An error says that there is no server,
// or that it went away.
func Run(ctx context.Context, labDir string, args []string, workDir string, terminal bool, stdout, stderr io.Writer) (int, error) {
	exit := -1
	request := commandRequest{Args: args, Dir: workDir, Terminal: terminal}
	err := post(ctx, SocketPath(labDir), "/command", request, func(body io.Reader) error {
		decoder := json.NewDecoder(bufio.NewReader(body))
		for {
			var piece commandOutput
			if err := decoder.Decode(&piece); err != nil {
				return err
			}
			io.WriteString(stdout, piece.Stdout)
			io.WriteString(stderr, piece.Stderr)
			if piece.Exit != nil {
				exit = *piece.Exit
				return nil
			}
		}
	})
	return exit, err
}

func (s *Server) handleCommand(w http.ResponseWriter, r *http.Request) {
	var request commandRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxToolBody)).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	stream := &stream{encoder: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	code := s.Command(r.Context(), request, pipe{stream, false}, pipe{stream, true})
	stream.send(commandOutput{Exit: &code})
}

// stream sends pieces of output as they come.
type stream struct {
	mu      sync.Mutex
	encoder *json.Encoder
	flush   func() error
}

func (s *stream) send(piece commandOutput) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.encoder.Encode(piece); err != nil {
		return err
	}
	return s.flush()
}

// pipe is one of the two outputs in a stream.
type pipe struct {
	stream   *stream
	isStderr bool
}

func (p pipe) Write(content []byte) (int, error) {
	piece := commandOutput{Stdout: string(content)}
	if p.isStderr {
		piece = commandOutput{Stderr: string(content)}
	}
	return len(content), p.stream.send(piece)
}

// invocation is one run of a command.
type invocation struct {
	server   *Server
	dir      string
	terminal bool
	stdout   io.Writer
	stderr   io.Writer
	flags    *flag.FlagSet
	args     []string
	// model is the name that -m gave.
	model string
	// noWait: return before the units are idle.
	noWait bool
}

// exitCode is the error of a command that has said everything itself.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// command is one row of the table of commands: declare names the flags and
// returns what runs once they are read.
type command struct {
	usage   string
	declare func(i *invocation) func(ctx context.Context) error
}

func commands() map[string]command {
	return map[string]command{
		"add-model":          {"NAME", cmdAddModel},
		"add-secret":         {"NAME KEY=VALUE…|KEY#file=PATH…", cmdAddSecret},
		"add-storage":        {"UNIT NAME[=[POOL,]SIZE[,COUNT]]…", cmdAddStorage},
		"attach-storage":     {"UNIT STORAGE…", cmdAttachStorage},
		"detach-storage":     {"STORAGE…", cmdDetachStorage},
		"remove-storage":     {"STORAGE…", cmdRemoveStorage},
		"storage":            {"[--format tabular|json|yaml]", cmdStorage},
		"add-unit":           {"APP [-n N] [--attach-storage …]", cmdAddUnit},
		"config":             {"APP [KEY] [KEY=VALUE|KEY=@FILE…] [--reset KEY,…] [--file FILE]", cmdConfig},
		"debug-log":          {"[--replay] [--tail|--no-tail] [-n LINES] [--level L] [--include UNIT]", cmdDebugLog},
		"deploy":             {"CHARM|tmate-ssh-server|github-runner-image-builder [APP] [-n N] [--config K=V|FILE…] [--storage NAME[=SIZE]…] [--base B]", cmdDeploy},
		"destroy-model":      {"NAME", cmdDestroyModel},
		"exec":               {"--unit UNIT[,UNIT…]|--application APP|--all -- COMMAND…", cmdExec},
		"grant-secret":       {"NAME APP[,APP…]", cmdGrantSecret},
		"integrate":          {"APP[:ENDPOINT] APP[:ENDPOINT]", cmdIntegrate},
		"model-config":       {"[KEY] [KEY=VALUE…] [--reset KEY,…]", cmdModelConfig},
		"models":             {"", cmdModels},
		"refresh":            {"APP --path CHARM [--config K=V…]", cmdRefresh},
		"remove-application": {"APP… [--force]", cmdRemoveApplication},
		"remove-relation":    {"APP[:ENDPOINT] APP[:ENDPOINT]|NUMBER", cmdRemoveRelation},
		"remove-secret":      {"NAME", cmdRemoveSecret},
		"remove-unit":        {"UNIT… [--force]", cmdRemoveUnit},
		"resolved":           {"UNIT [--no-retry]", cmdResolved},
		"revoke-secret":      {"NAME APP[,APP…]", cmdRevokeSecret},
		"run":                {"UNIT… ACTION [KEY=VALUE…] [--params FILE] [--background] [--format F]", cmdRun},
		"status":             {"[APP|UNIT…] [--relations] [--format tabular|json|yaml]", cmdStatus},
		"switch":             {"[MODEL]", cmdSwitch},
		"update-secret":      {"NAME KEY=VALUE…", cmdUpdateSecret},
	}
}

// Command runs one command and returns its exit status: 0, 1, or 2 for a
// command that was not understood.
func (s *Server) Command(ctx context.Context, request commandRequest, stdout, stderr io.Writer) int {
	i := &invocation{server: s, dir: request.Dir, terminal: request.Terminal, stdout: stdout, stderr: stderr}
	err := i.run(ctx, request.Args)
	var code exitCode
	var usage errUsage
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "ERROR %v\n", err)
		return 2
	default:
		fmt.Fprintf(stderr, "ERROR %v\n", err)
		return 1
	}
}

func (i *invocation) run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		Help(i.stdout)
		return nil
	}
	c, ok := commands()[args[0]]
	if !ok {
		return usagef("%q is not a command of the lab's Juju; see 'lab juju help'", args[0])
	}
	i.flags = flag.NewFlagSet(args[0], flag.ContinueOnError)
	i.flags.SetOutput(io.Discard)
	i.flags.StringVar(&i.model, "m", "", "")
	i.flags.StringVar(&i.model, "model", "", "")
	i.flags.BoolVar(&i.noWait, "no-wait", false, "")
	run := c.declare(i)
	var err error
	if i.args, err = parseMixed(i.flags, args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(i.stdout, "Usage: juju %s %s\n", args[0], c.usage)
			return nil
		}
		return errUsage{err}
	}
	return run(ctx)
}
