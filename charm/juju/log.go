package juju

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

var _ logrus.Hook = (*LogHook)(nil)

// Level is one of Juju's log levels.
type Level string

// Juju's log levels.
const (
	Trace    Level = "TRACE"
	Debug    Level = "DEBUG"
	Info     Level = "INFO"
	Warning  Level = "WARNING"
	Error    Level = "ERROR"
	Critical Level = "CRITICAL"
)

const (
	// logTimeout bounds one log line: a log is not worth a longer wait.
	logTimeout = 5 * time.Second
	// maxLogChunk is what one call of juju-log takes.
	maxLogChunk = 32 << 10
	// maxLogLine bounds a line that is made from a log entry.
	maxLogLine = 4 << 10
)

// Log writes text into Juju's log. A long text becomes several records, split
// between lines where that is possible.
func (t *Tools) Log(ctx context.Context, level Level, text string) error {
	text = strings.TrimRight(argument(text), "\n")
	for text != "" {
		var part string
		part, text = cutChunk(text)
		if strings.TrimSpace(part) == "" {
			continue
		}
		if _, err := t.run(ctx, "juju-log", "--log-level", string(level), "--", part); err != nil {
			return err
		}
	}
	return nil
}

func cutChunk(text string) (part, rest string) {
	if len(text) <= maxLogChunk {
		return text, ""
	}
	if i := strings.LastIndexByte(text[:maxLogChunk], '\n'); i > 0 {
		return text[:i], text[i+1:]
	}
	i := boundary(text, maxLogChunk)
	return text[:i], text[i:]
}

// NewLogger returns a logger that writes to Juju's log and nowhere else: what an
// action prints would become part of its results.
func NewLogger(tools *Tools, level logrus.Level) *logrus.Logger {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(level)
	logger.AddHook(NewLogHook(tools))
	return logger
}

// LogHook writes logrus entries to Juju's log, each as one line of bounded
// length: the message, then the fields as key=value.
//
// An entry waits for Juju for 5 s at most. A LogHook that had to give up once
// drops all further entries: where Juju does not take a line, the work itself
// must not wait again and again.
type LogHook struct {
	tools   *Tools
	timeout time.Duration

	mu     sync.Mutex // keeps the lines in order; guards gaveUp
	gaveUp bool
}

// NewLogHook returns a hook for any logger.
func NewLogHook(tools *Tools) *LogHook {
	return &LogHook{tools: tools, timeout: logTimeout}
}

// Levels is all of them.
func (h *LogHook) Levels() []logrus.Level {
	return logrus.AllLevels
}

// Fire writes one entry. It returns no error, which logrus would print to
// standard error, and standard error is part of an action's results.
func (h *LogHook) Fire(entry *logrus.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gaveUp {
		return nil
	}
	// Not the entry's context: what happens after a cancellation is worth a line.
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	err := h.tools.Log(ctx, jujuLevel(entry.Level), line(entry))
	h.gaveUp = errors.Is(err, context.DeadlineExceeded)
	return nil
}

var jujuLevels = map[logrus.Level]Level{
	logrus.TraceLevel: Trace,
	logrus.DebugLevel: Debug,
	logrus.InfoLevel:  Info,
	logrus.WarnLevel:  Warning,
	logrus.ErrorLevel: Error,
}

func jujuLevel(level logrus.Level) Level {
	if l, ok := jujuLevels[level]; ok {
		return l
	}
	return Critical
}

func line(entry *logrus.Entry) string {
	var b strings.Builder
	b.WriteString(oneLine(entry.Message, maxLogLine))
	for _, key := range slices.Sorted(maps.Keys(entry.Data)) {
		fmt.Fprintf(&b, " %s=%s", key, fieldValue(entry.Data[key]))
	}
	return shorten(b.String(), maxLogLine)
}

func fieldValue(value any) string {
	text := fmt.Sprint(value)
	if text == "" || strings.ContainsFunc(text, needsQuotes) {
		return strconv.Quote(text)
	}
	return text
}

func needsQuotes(r rune) bool {
	return r <= ' ' || r == '"' || r == '=' || r == '\\' || r >= 0x7f
}
