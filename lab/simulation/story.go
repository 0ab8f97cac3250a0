package simulation

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// story is what happened in a life, line by line.
type story struct {
	began time.Time

	mu    sync.Mutex
	lines []string
	// said is what the charm said to anybody: no secret may be in it.
	said strings.Builder
}

func newStory() *story {
	return &story{began: time.Now()}
}

// tell adds a line of the simulation's own.
func (s *story) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, s.stamp()+fmt.Sprintf(format, args...))
}

// quote adds a line of the charm's.
func (s *story) quote(who, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said.WriteString(text)
	s.said.WriteByte('\n')
	s.lines = append(s.lines, s.stamp()+"    "+who+": "+oneLine(text))
}

func (s *story) stamp() string {
	elapsed := time.Since(s.began).Round(100 * time.Millisecond)
	return fmt.Sprintf("%02d:%02d:%04.1f ", int(elapsed.Hours()), int(elapsed.Minutes())%60, (elapsed % time.Minute).Seconds())
}

// String is the whole story.
func (s *story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// heard is all that the charm said.
func (s *story) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// logger returns what a process of the charm logs to, at level debug. A dead one
// says nothing.
func (s *story) logger(p *process, event string) *logrus.Entry {
	log := logrus.New()
	log.SetLevel(logrus.DebugLevel)
	log.SetFormatter(plain{})
	log.SetOutput(logWriter{story: s, process: p})
	return log.WithField("event", event)
}

// plain writes a log's entry with its fields in one line.
type plain struct{}

// Format implements logrus.Formatter.
func (plain) Format(entry *logrus.Entry) ([]byte, error) {
	var b strings.Builder
	b.WriteString(strings.ToUpper(entry.Level.String()[:4]))
	b.WriteByte(' ')
	b.WriteString(entry.Message)
	keys := make([]string, 0, len(entry.Data))
	for key := range entry.Data {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		fmt.Fprintf(&b, " %s=%v", key, entry.Data[key])
	}
	return []byte(b.String()), nil
}

type logWriter struct {
	story   *story
	process *process
}

func (w logWriter) Write(line []byte) (int, error) {
	if !w.process.isDead() {
		w.story.quote("log", string(line))
	}
	return len(line), nil
}
