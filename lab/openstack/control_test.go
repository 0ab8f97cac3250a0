package openstack

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/charm/cloudinit"
	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/runnerapp"
)

// controlOf serves a cloud's orders on a socket of the machine, and returns a control of
// them.
func controlOf(t *testing.T, s *Server) Control {
	t.Helper()
	dir, err := os.MkdirTemp("", "cloud") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: faults.Orders(s.faults, s.Restart, s.orders()), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return Dial(socket)
}

func TestControlReachesDisks(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	const name, userData = "web", "#cloud-config\nwrite_files:\n- {path: /etc/note, content: b}\n"
	s.servers = append(s.servers, &server{name: name, userData: userData, disk: guests.NewMemory(nil)})
	control := controlOf(t, s)
	if err := control.LeaveFile(t.Context(), name, "note", "a"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{cloudinit.ExchangeDir + "/note": "a", "/etc/note": "b"} {
		if got, there, err := control.ReadFile(t.Context(), name, path); got != want || !there || err != nil {
			t.Errorf("%s is %q, there %v, %v; want %q", path, got, there, err, want)
		}
	}
	if _, there, err := control.ReadFile(t.Context(), name, "/none"); there || err != nil {
		t.Errorf("a file that nobody wrote: there %v, %v", there, err)
	}
	if err := control.LeaveFile(t.Context(), name, "../note", "a"); err == nil || !strings.Contains(err.Error(), "not inside") {
		t.Errorf("a file outside the folder: %v", err)
	}
	for what, err := range map[string]error{
		"leaving a file": control.LeaveFile(t.Context(), "nobody", "note", "a"),
		"killing":        control.Kill(t.Context(), "nobody"),
	} {
		if err == nil || !strings.Contains(err.Error(), `no server "nobody"`) {
			t.Errorf("%s where there is no such server: %v", what, err)
		}
	}
}

func TestKilledApplicationEndsItsRunner(t *testing.T) {
	inLife(t, Options{}, cloudinit.Machine{}, func(l *life) {
		kill := func() error {
			guest, err := l.inside("runner-1")
			if err != nil {
				return err
			}
			return guest.Kill()
		}
		l.session.jobs <- runnerapp.Job{Name: "build"}
		l.wait(time.Second)
		if err := kill(); err != nil {
			l.t.Fatal(err)
		}
		l.wait(time.Second)
		if got := l.left(cloudinit.PostJobMetricsFile); !strings.Contains(got, `"abnormal"`) || !strings.Contains(got, "137") {
			l.t.Errorf("it leaves %q", got)
		}
		if l.status() != "ACTIVE" || l.session.finished != "" {
			l.t.Errorf("the server is %s, the job %q", l.status(), l.session.finished)
		}
		l.wait(stayUp + time.Second)
		if got := l.status(); got != "SHUTOFF" {
			l.t.Errorf("the server is %s", got)
		}
		if err := kill(); err == nil || !strings.Contains(err.Error(), "is off") {
			l.t.Errorf("killing it again: %v", err)
		}
	})
}

func TestRenewedImageTakesTheName(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		look := func() images.Image {
			pages, err := images.List(all.image, images.ListOpts{Name: "noble"}).AllPages(t.Context())
			must(t, err)
			found, err := images.ExtractImages(pages)
			must(t, err)
			if len(found) != 1 {
				t.Fatalf("the images called noble are %v", found)
			}
			return found[0]
		}
		older := look()
		id, err := c.renewImage("noble")
		must(t, err)
		newer := look()
		if newer.ID != id || id == older.ID || newer.Properties["os_version"] != "24.04" {
			t.Errorf("renewed as %s: %+v", id, newer)
		}
		if still, err := images.Get(t.Context(), all.image, older.ID).Extract(); err != nil || still.Name != "noble" {
			t.Errorf("the older one is %+v, %v", still, err)
		}
		if _, err := c.renewImage("appliance"); err == nil || !strings.Contains(err.Error(), "no public image") {
			t.Errorf("renewing the image of a project: %v", err)
		}
	})
}
