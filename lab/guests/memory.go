package guests

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"sync"

	"github-runner/charm/cloudinit"
)

// ErrServed is what a machine says that has served already.
var ErrServed = errors.New("github-runner: this machine has served already")

// Memory is a machine whose disk is in memory. The zero value has nothing on its disk.
type Memory struct {
	mu    sync.Mutex
	files map[string]string
}

var (
	_ Machine = (*Memory)(nil)
	_ Disk    = (*Memory)(nil)
)

// file is where a file for the manager is.
func file(name string) string { return cloudinit.ExchangeDir + "/" + name }

// NewMemory returns a machine with files on its disk, by path.
func NewMemory(files map[string]string) *Memory {
	return &Memory{files: maps.Clone(files)}
}

// Files is what is on the disk now, by path.
func (m *Memory) Files() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.files)
}

// File is a file on the disk, and whether there is one.
func (m *Memory) File(path string) (content string, there bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, there = m.files[path]
	return content, there
}

// Begin implements Machine.
func (m *Memory) Begin() error {
	if _, again := m.File(cloudinit.StartedPath); again {
		return ErrServed
	}
	m.Write(cloudinit.StartedPath, "")
	return nil
}

// Leave implements Machine and Disk.
func (m *Memory) Leave(name, content string) { m.Write(file(name), content) }

// Left implements Machine.
func (m *Memory) Left(name string) bool {
	_, there := m.File(file(name))
	return there
}

// Write implements Disk.
func (m *Memory) Write(path, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write(path, content)
}

// write writes a file; m.mu is held.
func (m *Memory) write(path, content string) {
	if m.files == nil {
		m.files = make(map[string]string)
	}
	m.files[path] = content
}

// Read implements Disk.
func (m *Memory) Read(path string) string {
	content, _ := m.File(path)
	return content
}

// Log implements Machine and Disk.
func (m *Memory) Log(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write(file(cloudinit.DiagFile), m.files[file(cloudinit.DiagFile)]+line+"\n")
}

// Process implements Machine: nobody sees its processes.
func (m *Memory) Process(string) (end func()) { return func() {} }

// DialPolicy implements Machine: it reaches what the lab's machine reaches.
func (m *Memory) DialPolicy(ctx context.Context, text string) (net.Conn, error) {
	address, err := PolicyAddress(text)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// PolicyAddress is the host and the port of a policy service's URL.
func PolicyAddress(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	port := parsed.Port()
	switch {
	case port != "":
	case parsed.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(parsed.Hostname(), port), nil
}
