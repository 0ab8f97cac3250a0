package juju

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

func TestLog(t *testing.T) {
	tools := fakeTools(t, answers{"juju-log": {}})
	if err := tools.Log(t.Context(), Warning, "--version\nsecond line\n"); err != nil {
		t.Fatal(err)
	}
	if err := tools.Log(t.Context(), Info, " \n"); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, tools, []string{"juju-log", "--log-level", "WARNING", "--", "--version\nsecond line"})
}

func TestLogOfLongText(t *testing.T) {
	tests := map[string]string{
		"lines":   strings.Repeat(strings.Repeat("l", 99)+"\n", 2000),
		"no line": strings.Repeat("ä", 100_000),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			tools := fakeTools(t, answers{"juju-log": {}})
			if err := tools.Log(t.Context(), Debug, text); err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, call := range calls(t, tools) {
				if have := len(call[4]); have > maxLogChunk {
					t.Errorf("a record has %d bytes", have)
				}
				got.WriteString(call[4])
			}
			if got.String() != strings.ReplaceAll(text, "\n", "") && strings.ReplaceAll(got.String(), "\n", "") != strings.ReplaceAll(text, "\n", "") {
				t.Error("the records do not add up to the text")
			}
		})
	}
}

func record(level, text string) []string {
	return []string{"juju-log", "--log-level", level, "--", text}
}

func TestLogger(t *testing.T) {
	tools := fakeTools(t, answers{"juju-log": {}})
	log := NewLogger(NewLogHook(tools), logrus.DebugLevel)
	log.WithFields(logrus.Fields{"runner": "app-0-1", "count": 3, "name": "a b\n", "none": "", "took": "1s", "event": "start"}).
		WithError(errors.New(`no "x"`)).Warn("cannot do\nthis")
	log.Trace("not of this level")
	log.Info("i")
	log.Error("e")
	wantCalls(t, tools,
		record("WARNING", `cannot do this event=start runner=app-0-1 count=3 name="a b\n" none="" took=1s error="no \"x\""`),
		record("INFO", "i"), record("ERROR", "e"))
}

// TestDetailsComeTogether holds details back until something else makes them
// worth a process.
func TestDetailsComeTogether(t *testing.T) {
	at := func(seconds int) time.Time {
		return time.Date(2026, 11, 24, 1, 2, seconds, 345e6, time.FixedZone("", 3600))
	}
	type entry struct {
		second int
		level  logrus.Level
		text   string
	}
	long := strings.Repeat("l", maxLogLine)
	tests := map[string]struct {
		entries []entry
		want    [][]string
	}{
		"until the end": {
			[]entry{{0, logrus.DebugLevel, "a"}, {1, logrus.InfoLevel, "b"}, {2, logrus.DebugLevel, "c"}},
			[][]string{record("INFO", "b"), record("DEBUG", "00:02:00.345Z a\n00:02:02.345Z c")},
		},
		"before a warning": {
			[]entry{{0, logrus.DebugLevel, "a"}, {1, logrus.WarnLevel, "b"}, {2, logrus.DebugLevel, "c"}},
			[][]string{record("DEBUG", "00:02:00.345Z a"), record("WARNING", "b"), record("DEBUG", "00:02:02.345Z c")},
		},
		"when they are old": {
			[]entry{{0, logrus.DebugLevel, "a"}, {10, logrus.DebugLevel, "b"}, {11, logrus.InfoLevel, "c"}},
			[][]string{record("DEBUG", "00:02:00.345Z a\n00:02:10.345Z b"), record("INFO", "c")},
		},
		"when they are many": {
			[]entry{{0, logrus.DebugLevel, long}, {0, logrus.DebugLevel, long}, {0, logrus.DebugLevel, long}, {0, logrus.DebugLevel, long}},
			[][]string{
				record("DEBUG", strings.TrimSuffix(strings.Repeat("00:02:00.345Z "+long+"\n", 3), "\n")),
				record("DEBUG", "00:02:00.345Z "+long),
			},
		},
		"none": {[]entry{{0, logrus.WarnLevel, "a"}}, [][]string{record("WARNING", "a")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tools := fakeTools(t, answers{"juju-log": {}})
			hook := NewLogHook(tools)
			log := NewLogger(hook, logrus.DebugLevel)
			for _, e := range test.entries {
				log.WithTime(at(e.second)).Log(e.level, e.text)
			}
			hook.Close()
			hook.Close() // has nothing more to write
			wantCalls(t, tools, test.want...)
		})
	}
}

func TestLoggerPrintsNothing(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, stdout := os.Stderr, os.Stdout
	os.Stderr, os.Stdout = write, write
	NewLogger(NewLogHook(fakeTools(t, answers{"juju-log": {Exit: 1, Stderr: "ERROR", Stdout: "out"}})), logrus.InfoLevel).Info("text")
	os.Stderr, os.Stdout = stderr, stdout
	write.Close()
	buffer := make([]byte, 100)
	if n, _ := read.Read(buffer); n > 0 {
		t.Errorf("printed %q", buffer[:n])
	}
}

func TestLoggerGivesUpOnce(t *testing.T) {
	tools := fakeTools(t, answers{"juju-log": {Hang: true}})
	hook := NewLogHook(tools)
	hook.timeout = 50 * time.Millisecond
	log := logrus.New()
	log.SetOutput(&strings.Builder{})
	log.AddHook(hook)
	for range 5 {
		log.Info("text")
	}
	if got := len(calls(t, tools)); got > 1 {
		t.Errorf("juju-log ran %d times, want once at most", got)
	}
	if !hook.gaveUp {
		t.Error("the hook did not give up")
	}
}

func TestLoggerKeepsOnAfterRefusal(t *testing.T) {
	tools := fakeTools(t, answers{"juju-log": {Exit: 1}})
	log := NewLogger(NewLogHook(tools), logrus.InfoLevel)
	log.Info("a")
	log.Info("b")
	if got := len(calls(t, tools)); got != 2 {
		t.Errorf("juju-log ran %d times, want 2", got)
	}
}
