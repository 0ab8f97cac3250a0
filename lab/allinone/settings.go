package allinone

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed settings
var templates embed.FS

const (
	// host is the name of the one host that servers run on.
	host = "node1"
	// physical is the name of the network that the host is on.
	physical = "machine"
)

// settings are what the files of settings are made from.
type settings struct {
	Address  netip.Addr
	State    string
	Password string
	Host     string
	Physical string
	Driver   string
}

// path is where a file of settings is.
func (s *Stack) path(name string) string { return filepath.Join(s.State, "etc", name) }

// database is how a service connects to a database.
func (s *Stack) database(name string) string {
	return fmt.Sprintf("mysql+pymysql://root@localhost/%s?unix_socket=%s&charset=utf8", name, sqlSocket)
}

// writeSettings writes the files of settings, which have passwords in them.
func (s *Stack) writeSettings() error {
	drivers := map[Guests]string{Fake: "fake.FakeDriver", QEMU: "libvirt.LibvirtDriver"}
	values := settings{
		Address: s.Address, State: s.State, Password: s.password,
		Host: host, Physical: physical, Driver: drivers[s.Guests],
	}
	all, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"database": s.database}).ParseFS(templates, "settings/*")
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	files, err := fs.Glob(templates, "settings/*.conf*")
	if err != nil {
		return fmt.Errorf("cannot read the settings: %w", err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		var text bytes.Buffer
		if err := all.ExecuteTemplate(&text, name, values); err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
		if err := os.WriteFile(s.path(name), text.Bytes(), 0o600); err != nil {
			return fmt.Errorf("cannot write %s: %w", name, err)
		}
	}
	return nil
}
