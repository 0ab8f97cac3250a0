package juju

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// defaultTimeout bounds one call of a hook tool.
	defaultTimeout = 30 * time.Second
	// killDelay is how long the pipes of a killed tool may stay open: a child
	// of its own may hold them.
	killDelay = time.Second

	maxOutput = 4 << 20
	maxStderr = 4 << 10
	// maxArgument stays below the kernel's 128 KiB for one argument.
	maxArgument = 100 << 10
)

// Tools runs Juju's hook tools. The zero value finds them on PATH and gives each
// call 30 s. It may be used by several goroutines.
//
// No method ever puts a secret into an argument of a process. All errors name
// the tool and quote what it said.
type Tools struct {
	// Dir is the folder of the tools; empty means PATH.
	Dir string
	// Timeout bounds each call; 0 means 30 s.
	Timeout time.Duration
}

// ToolError is the refusal of a hook tool.
type ToolError struct {
	// Tool is its name, such as "secret-get".
	Tool string
	// ExitCode is 1 for what failed and 2 for what was not understood, and -1
	// for a tool that was killed.
	ExitCode int
	// Stderr is what it said, in one line of bounded length.
	Stderr string
}

// Error names the tool and quotes it.
func (e *ToolError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("cannot run %s: exit status %d", e.Tool, e.ExitCode)
	}
	return fmt.Sprintf("cannot run %s: exit status %d: %s", e.Tool, e.ExitCode, e.Stderr)
}

// AnswerError is for a hook tool that ran, and whose answer is of no use: it is
// too long, or not of the form that the tool's answers have. What others wrote
// into a relation may be why. It quotes nothing of the answer.
type AnswerError struct {
	// Err says what is wrong with the answer.
	Err error
}

// Error names the tool.
func (e *AnswerError) Error() string {
	return e.Err.Error()
}

// Unwrap returns what is wrong with the answer.
func (e *AnswerError) Unwrap() error {
	return e.Err
}

// run runs a tool and returns its standard output.
func (t *Tools) run(ctx context.Context, tool string, args ...string) ([]byte, error) {
	return t.feed(ctx, nil, tool, args...)
}

// feed runs a tool that reads its standard input, and returns its standard output.
func (t *Tools) feed(ctx context.Context, input io.Reader, tool string, args ...string) ([]byte, error) {
	timeout := t.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v: %w", timeout, context.DeadlineExceeded))
	defer cancel()

	path := tool
	if t.Dir != "" {
		path = filepath.Join(t.Dir, tool)
	}
	stdout := &boundedBuffer{limit: maxOutput, full: cancel}
	stderr := &boundedBuffer{limit: maxStderr}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = input
	cmd.Stdout = stdout
	cmd.Stderr = stderr
	cmd.WaitDelay = killDelay
	// A group of its own, so that a tool that is given up takes its children
	// along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != syscall.ESRCH {
			return err
		}
		return os.ErrProcessDone
	}

	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case stdout.overflowed:
		return nil, &AnswerError{Err: fmt.Errorf("cannot use the answer of %s: it is longer than %d bytes", tool, maxOutput)}
	case err == nil:
		return stdout.kept.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("cannot run %s: %w", tool, context.Cause(ctx))
	case errors.As(err, &exit):
		return nil, &ToolError{Tool: tool, ExitCode: exit.ExitCode(), Stderr: oneLine(stderr.kept.String(), maxStderr)}
	default:
		return nil, fmt.Errorf("cannot run %s: %w", tool, err)
	}
}

// runJSON runs a tool that answers in JSON and decodes the answer into value.
// Numbers stay json.Number where value leaves the type open.
func (t *Tools) runJSON(ctx context.Context, value any, tool string, args ...string) error {
	out, err := t.run(ctx, tool, append([]string{"--format=json"}, args...)...)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.UseNumber()
	if err := decoder.Decode(value); err != nil {
		return answerError(tool, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return answerError(tool, errors.New("something follows the JSON value"))
	}
	return nil
}

// answerError does not quote the answer, which may hold a secret. Neither does
// encoding/json, beyond a single character.
func answerError(tool string, err error) error {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		return &AnswerError{Err: fmt.Errorf("cannot understand the answer of %s: %s where %s was expected", tool, strings.SplitN(mismatch.Value, " ", 2)[0], mismatch.Type)}
	}
	return &AnswerError{Err: fmt.Errorf("cannot understand the answer of %s: %w", tool, err)}
}

// boundedBuffer keeps the first limit bytes and calls full, once, at the first
// byte beyond.
//
// The buffer is no embedded one, because io.Copy would find its ReadFrom and
// pass the limit by.
type boundedBuffer struct {
	kept       bytes.Buffer
	limit      int
	full       func()
	overflowed bool
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := b.limit - b.kept.Len()
	if len(p) <= room {
		return b.kept.Write(p)
	}
	b.kept.Write(p[:room])
	if !b.overflowed && b.full != nil {
		b.full()
	}
	b.overflowed = true
	return len(p), nil
}

// oneLine makes text fit for a place that shows one line of at most limit bytes:
// white space becomes single blanks, control characters and broken UTF-8 go.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return shorten(strings.Join(strings.Fields(text), " "), limit)
}

const ellipsis = "…"

// shorten cuts text between two characters so that it has at most limit bytes.
func shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:boundary(text, limit-len(ellipsis))] + ellipsis
}

// boundary is the last place at or before limit that does not split a
// character.
func boundary(text string, limit int) int {
	for limit > 0 && text[limit]&0xc0 == 0x80 {
		limit--
	}
	return limit
}

// argument makes text fit for a process's argument.
func argument(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}
