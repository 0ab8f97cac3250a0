package juju

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

// toolTimeout bounds a hook tool's call: the server answers from memory.
const toolTimeout = 20 * time.Second

// maxToolBody bounds what goes between a hook tool and the server.
const maxToolBody = 16 << 20

type toolRequest struct {
	Context string   `json:"context"`
	Tool    string   `json:"tool"`
	Args    []string `json:"args"`
	// Dir is where it was called.
	Dir string `json:"dir"`
	// Input is what it was given to read, where it was told to read that.
	Input string `json:"input,omitempty"`
}

type toolResponse struct {
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Code   int    `json:"code"`
}

// inputFile is what a tool calls its standard input where it takes a file.
const inputFile = "-"

// IsTool reports whether a program that was started under this name is a hook
// tool.
func IsTool(name string) bool {
	_, ok := hookTools[name]
	return ok
}

// ToolMain is the whole of a hook tool: it asks the model that
// JUJU_AGENT_SOCKET_ADDRESS and JUJU_CONTEXT_ID name, and returns the exit
// status: 1 for what failed, 2 for what was not understood.
func ToolMain(name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	contextID, socket := os.Getenv("JUJU_CONTEXT_ID"), os.Getenv("JUJU_AGENT_SOCKET_ADDRESS")
	if contextID == "" || socket == "" {
		fmt.Fprintln(stderr, "ERROR JUJU_CONTEXT_ID not set")
		return 1
	}
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(stderr, "ERROR", err)
		return 1
	}
	var input []byte
	if at := slices.Index(args, "--file"); at >= 0 && at+1 < len(args) && args[at+1] == inputFile {
		if input, err = io.ReadAll(stdin); err != nil {
			fmt.Fprintln(stderr, "ERROR", err)
			return 1
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	var answer toolResponse
	request := toolRequest{Context: contextID, Tool: name, Args: args, Dir: dir, Input: string(input)}
	err = post(ctx, socket, "/tool", request, func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&answer)
	})
	if err != nil {
		fmt.Fprintln(stderr, "ERROR", err)
		return 1
	}
	io.WriteString(stdout, answer.Stdout)
	io.WriteString(stderr, answer.Stderr)
	return answer.Code
}

// post sends a request to the server behind a socket and has the answer read.
func post(ctx context.Context, socket, path string, request any, read func(io.Reader) error) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("cannot ask the model: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://juju"+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("cannot ask the model: %w", err)
	}
	response, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("cannot ask the model: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
		return fmt.Errorf("cannot ask the model: %s: %s", response.Status, bytes.TrimSpace(text))
	}
	if err := read(response.Body); err != nil {
		return fmt.Errorf("cannot read the model's answer: %w", err)
	}
	return nil
}

func (s *Server) handleTool(w http.ResponseWriter, r *http.Request) {
	var request toolRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, maxToolBody)).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := s.runTool(request)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}
