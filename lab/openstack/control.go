package openstack

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/lab/faults"
	"github-runner/lab/guests"
)

// Control gives an emulation the orders that a real cloud has no words for: what
// happens inside its guests, and what only those who run a cloud can do.
type Control struct {
	*faults.Control
}

// Dial returns the control of the emulation with that control socket. It makes no
// call.
func Dial(socket string) Control { return Control{faults.Dial(socket)} }

// diskFile is a file of a guest, as it is ordered and as the reply has it.
type diskFile struct {
	Path    string `json:"path"`
	Content string `json:"content"`
	// There is false in the reply where there is no such file.
	There bool `json:"there"`
}

// ReadFile returns a file on the disk of a server, by its name: one that its guest
// wrote, or its user-data. there is false when it has no such file.
func (c Control) ReadFile(ctx context.Context, server, path string) (content string, there bool, err error) {
	var file diskFile
	err = c.Order(ctx, http.MethodGet, serverOrder(server, "files")+"?path="+url.QueryEscape(path), nil, &file)
	return file.Content, file.There, err
}

// LeaveFile leaves a file for the manager on the disk of a server, by its name, as a
// job might.
func (c Control) LeaveFile(ctx context.Context, server, name, content string) error {
	return c.Order(ctx, http.MethodPost, serverOrder(server, "files"), diskFile{Path: name, Content: content}, nil)
}

// Kill kills the runner application in the guest of a server, by its name.
func (c Control) Kill(ctx context.Context, server string) error {
	return c.Order(ctx, http.MethodPost, serverOrder(server, "kill"), nil, nil)
}

// RenewImage puts a newer image in the place of the public one of a name, as those
// who run a cloud do, and returns its ID. The older one stays, hidden, under its ID.
func (c Control) RenewImage(ctx context.Context, name string) (id string, err error) {
	err = c.Order(ctx, http.MethodPost, "/images/"+url.PathEscape(name), nil, &id)
	return id, err
}

func serverOrder(server, what string) string {
	return "/servers/" + url.PathEscape(server) + "/" + what
}

// Guest is what runs in a server, as orders look at it and meddle with it.
type Guest interface {
	// File is a file on its disk or of its user-data.
	File(path string) (content string, there bool)
	// Leave leaves a file for the manager.
	Leave(name, content string)
	// Kill kills the runner application.
	Kill() error
}

// GuestOrders are the orders of a Control about guests, which find finds by the name
// of their server.
func GuestOrders(find func(name string) (Guest, error)) map[string]faults.Order {
	about := func(do func(Guest, *http.Request) (any, error)) faults.Order {
		return func(r *http.Request) (any, error) {
			g, err := find(r.PathValue("name"))
			if err != nil {
				return nil, err
			}
			return do(g, r)
		}
	}
	return map[string]faults.Order{
		"GET /servers/{name}/files": about(func(g Guest, r *http.Request) (any, error) {
			path := r.URL.Query().Get("path")
			content, there := g.File(path)
			return diskFile{Path: path, Content: content, There: there}, nil
		}),
		"POST /servers/{name}/files": about(func(g Guest, r *http.Request) (any, error) {
			var left diskFile
			if err := faults.Decode(r, &left); err != nil {
				return nil, err
			}
			if strings.Contains(left.Path, "/") {
				return nil, fmt.Errorf("the file %q is not inside %s", left.Path, cloudinit.ExchangeDir)
			}
			g.Leave(left.Path, left.Content)
			return nil, nil
		}),
		"POST /servers/{name}/kill": about(func(g Guest, _ *http.Request) (any, error) { return nil, g.Kill() }),
	}
}

// orders are those of Control that faults.Control does not have.
func (s *Server) orders() map[string]faults.Order {
	all := GuestOrders(s.inside)
	all["POST /images/{name}"] = func(r *http.Request) (any, error) { return s.renewImage(r.PathValue("name")) }
	return all
}

// named is the newest server of a name; s.mu is held.
func (s *Server) named(name string) (*server, error) {
	for _, v := range slices.Backward(s.servers) {
		if v.name == name {
			return v, nil
		}
	}
	return nil, fmt.Errorf("there is no server %q", name)
}

// inside is the guest of the newest server of a name.
func (s *Server) inside(name string) (Guest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.named(name)
	return insideServer{s, v}, err
}

// insideServer is a server of the emulation as orders see it.
type insideServer struct {
	cloud  *Server
	server *server
}

// File implements Guest.
func (i insideServer) File(path string) (content string, there bool) {
	content, there = i.server.disk.File(path)
	if !there {
		content = guests.WrittenFile(i.server.userData, path)
		there = content != ""
	}
	return content, there
}

// Leave implements Guest.
func (i insideServer) Leave(name, content string) {
	i.server.disk.Leave(name, content)
}

// Kill implements Guest.
func (i insideServer) Kill() error {
	i.cloud.mu.Lock()
	defer i.cloud.mu.Unlock()
	if i.server.guest == nil {
		return fmt.Errorf("the server %q is off", i.server.name)
	}
	i.server.guest.kill()
	return nil
}

// renewImage replaces a public image by one with the same content.
func (s *Server) renewImage(name string) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.images, func(i *storedImage) bool { return i.name == name && i.public && !i.hidden })
	if at < 0 {
		return "", fmt.Errorf("there is no public image %q", name)
	}
	older := s.images[at]
	newer := *older
	newer.id, newer.created, newer.updated = newUUID(), time.Now(), time.Now()
	newer.properties, newer.files = maps.Clone(older.properties), maps.Clone(older.files)
	older.hidden, older.updated = true, newer.updated
	s.images = append(s.images, &newer)
	return newer.id, nil
}
