package juju

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// levels are Juju's, the least important first.
var levels = []string{"TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}

// maxLogBuffer bounds a line of a hook's output that does not end.
const maxLogBuffer = 64 << 10

// logFile is the model's debug log: one record a line, as 'juju debug-log' shows
// it; further lines of a record are indented.
type logFile struct {
	mu   sync.Mutex
	file *os.File
	// grown is closed, and replaced, with each record.
	grown chan struct{}
}

func openLog(path string) (*logFile, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the debug log: %w", err)
	}
	return &logFile{file: file, grown: make(chan struct{})}, nil
}

// Close closes the file; later records are lost.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

func (l *logFile) write(entity, level, module, text string) {
	text = strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
	record := fmt.Sprintf("%s: %s %s %s %s\n", entity, time.Now().Format(time.TimeOnly), level, module, text)
	l.mu.Lock()
	defer l.mu.Unlock()
	// A log that can't be written must not stop the model.
	_, _ = l.file.WriteString(record)
	close(l.grown)
	l.grown = make(chan struct{})
}

// more is closed with the next record.
func (l *logFile) more() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.grown
}

// writer makes a record of each line that is written to it.
func (l *logFile) writer(entity, level, module string) *logWriter {
	return &logWriter{log: l, entity: entity, level: level, module: module}
}

type logWriter struct {
	log                   *logFile
	entity, level, module string
	partial               []byte
}

func (w *logWriter) Write(p []byte) (int, error) {
	w.partial = append(w.partial, p...)
	for {
		line, rest, ok := bytes.Cut(w.partial, []byte("\n"))
		if !ok && len(w.partial) < maxLogBuffer {
			return len(p), nil
		}
		w.log.write(w.entity, w.level, w.module, string(line))
		w.partial = rest
	}
}

// Close writes what did not end with a line break.
func (w *logWriter) Close() error {
	if len(w.partial) > 0 {
		w.log.write(w.entity, w.level, w.module, string(w.partial))
	}
	w.partial = nil
	return nil
}
