package juju

import (
	"cmp"
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
	// maxDetails and maxDetailsAge bound what is held back of details.
	maxDetails    = 16 << 10
	maxDetailsAge = 10 * time.Second
	// detailTime is the time of a detail, in UTC: the record that it comes in
	// has a later one.
	detailTime = "15:04:05.000Z"
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
func NewLogger(hook *LogHook, level logrus.Level) *logrus.Logger {
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	logger.SetLevel(level)
	logger.AddHook(hook)
	return logger
}

// LogHook writes logrus entries to Juju's log, each as one line of bounded
// length: the message, then the fields as key=value in a fixed order.
//
// Every record costs a process of Juju's, also one that the model's
// configuration then drops: nothing in a hook's environment says which it does.
// So details, which are the entries at debug level and below, are held back and
// written together, each with its own time: before the next warning or error,
// when they are many or old, and by Close.
//
// A record waits for Juju for 5 s at most. A LogHook that had to give up once
// drops all further entries: where Juju does not take a line, the work itself
// must not wait again and again.
type LogHook struct {
	tools   *Tools
	timeout time.Duration

	mu      sync.Mutex // keeps the lines in order; guards what follows
	gaveUp  bool
	details strings.Builder
	oldest  time.Time // of the details
}

// NewLogHook returns a hook for any logger.
func NewLogHook(tools *Tools) *LogHook {
	return &LogHook{tools: tools, timeout: logTimeout}
}

// Levels is all of them.
func (h *LogHook) Levels() []logrus.Level {
	return logrus.AllLevels
}

// Fire writes one entry, or holds it back. It returns no error, which logrus
// would print to standard error, and standard error is part of an action's
// results.
func (h *LogHook) Fire(entry *logrus.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.details.Len() > 0 && entry.Time.Sub(h.oldest) > maxDetailsAge {
		h.release()
	}
	if entry.Level >= logrus.DebugLevel {
		h.hold(entry)
		return nil
	}
	if entry.Level <= logrus.WarnLevel {
		h.release()
	}
	h.write(jujuLevel(entry.Level), line(entry))
	return nil
}

// Close writes the details that are still held back. The hook may be used
// afterwards.
func (h *LogHook) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.release()
}

// hold keeps a detail for later.
func (h *LogHook) hold(entry *logrus.Entry) {
	detail := entry.Time.UTC().Format(detailTime) + " " + line(entry)
	if h.details.Len()+len(detail) >= maxDetails {
		h.release()
	}
	if h.details.Len() == 0 {
		h.oldest = entry.Time
	} else {
		h.details.WriteByte('\n')
	}
	h.details.WriteString(detail)
}

// release writes the details that were held back.
func (h *LogHook) release() {
	text := h.details.String()
	h.details.Reset()
	h.write(Debug, text)
}

func (h *LogHook) write(level Level, text string) {
	if h.gaveUp {
		return
	}
	// Not the entry's context: what happens after a cancellation is worth a line.
	ctx, cancel := context.WithTimeout(context.Background(), h.timeout)
	defer cancel()
	h.gaveUp = errors.Is(h.tools.Log(ctx, level, text), context.DeadlineExceeded)
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
	for _, key := range slices.SortedFunc(maps.Keys(entry.Data), compareFields) {
		fmt.Fprintf(&b, " %s=%s", key, fieldValue(entry.Data[key]))
	}
	return shorten(b.String(), maxLogLine)
}

// fieldRanks order the fields of a line: what it is about first, how it went
// last, and between them the rest by name.
var fieldRanks = map[string]int{"event": -3, "cloud": -2, "runner": -1, "took": 1, logrus.ErrorKey: 2}

func compareFields(a, b string) int {
	return cmp.Or(cmp.Compare(fieldRanks[a], fieldRanks[b]), strings.Compare(a, b))
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
