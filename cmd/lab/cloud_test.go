package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/lab"
	"github-runner/lab/lxd"
	"github-runner/lab/runnerapp"
)

// cloudLab is a lab that has a cloud alone.
type cloudLab struct {
	t   *testing.T
	dir string
}

func newCloudLab(t *testing.T) cloudLab {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	facts, err := json.Marshal(lab.Lab{Cloud: lab.CloudEmulated, LXDDir: filepath.Join(dir, "lxd")})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"lab.json": facts, "before.json": []byte("{}")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := logrus.New()
	log.SetOutput(t.Output())
	server, err := lxd.New(lxd.Options{
		Dir: dir, Timing: lxd.Quick(), Log: logrus.NewEntry(log),
		Listen: func(jit string) (lxd.Listener, error) { return runnerapp.Open(jit) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- server.Serve(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the emulated LXD ended: %v", err)
		}
	})
	return cloudLab{t: t, dir: dir}
}

func (c cloudLab) try(args ...string) (string, error) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	env := environment{Stdout: &out, Stderr: &bytes.Buffer{}}
	err := dispatch(ctx, env, append([]string{"--dir", c.dir, "cloud"}, args...))
	return out.String(), err
}

func (c cloudLab) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("lab cloud %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func TestCloudInstances(t *testing.T) {
	c := newCloudLab(t)
	c.run("add-foreign", "web")
	c.run("wait", "--status", "running", "--count", "1")
	if out := c.run("instances"); !strings.Contains(out, "web") || !strings.Contains(out, "running") {
		t.Errorf("instances prints %q", out)
	}
	c.run("reboot", "web")
	c.run("wait", "--name", "web", "--status", "running")
	c.run("exit", "web")
	c.run("stop", "web")
	c.run("wait", "--name", "we*", "--status", "stopped")
	var infos []instanceInfo
	if err := json.Unmarshal([]byte(c.run("instances", "--format", "json")), &infos); err != nil {
		t.Fatal(err)
	}
	if len(infos) != 1 || infos[0].Name != "web" || infos[0].Status != "stopped" {
		t.Errorf("instances are %+v", infos)
	}
	c.run("delete", "web")
	c.run("wait", "--count", "0")
}

func TestCloudImage(t *testing.T) {
	c := newCloudLab(t)
	if _, err := c.try("image", "noble", "newer"); err == nil || !strings.Contains(err.Error(), "deploy the charm first") {
		t.Errorf("a newer image without a storage pool: %v", err)
	}
	c.run("add-foreign", "web")
	before := c.imageOf("web")
	for range 2 {
		c.run("delete", "web")
		said := c.run("image", "noble", "newer")
		c.run("add-foreign", "web")
		next := c.imageOf("web")
		if next == before || said != "noble is "+next[:12]+"\n" {
			t.Errorf("image says %q; an instance is made of %s, before of %s", said, next, before)
		}
		before = next
	}
	if own, err := os.ReadFile(filepath.Join(c.dir, "before.json")); err != nil || !strings.Contains(string(own), before) {
		t.Errorf("the image %s is none of the lab's: %s, %v", before, own, err)
	}
	c.run("image", "noble", "virtual-machine")
	c.run("image", "noble", "container")
	if _, err := c.try("image", "noble", "older"); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("another word for it: %v", err)
	}
}

// imageOf is the image that the only instance was made of.
func (c cloudLab) imageOf(name string) string {
	c.t.Helper()
	var infos []instanceInfo
	if err := json.Unmarshal([]byte(c.run("instances", "--format", "json")), &infos); err != nil {
		c.t.Fatal(err)
	}
	if len(infos) != 1 || infos[0].Name != name || len(infos[0].Image) != 64 {
		c.t.Fatalf("instances are %+v", infos)
	}
	return infos[0].Image
}

func TestCloudEdits(t *testing.T) {
	c := newCloudLab(t)
	c.run("edit-profile", "default", "limits.cpu=3", "user.x=a=b")
	if _, err := c.try("edit-profile", "default", "colour=blue"); err == nil {
		t.Error("LXD takes an unknown key")
	}
	if _, err := c.try("edit-profile", "default", "novalue"); err == nil {
		t.Error("an edit without a value is taken")
	}
	c.run("edit-profile")
	c.run("edit-network")
}

// What looks like an option must not become an instance.
func TestCloudRefusesOptionsForNames(t *testing.T) {
	c := newCloudLab(t)
	var usage usageError
	if _, err := c.try("add-foreign", "--help"); !errors.As(err, &usage) {
		t.Errorf("add-foreign --help: %v, want a mistake in the command line", err)
	}
}

func TestCloudFaults(t *testing.T) {
	c := newCloudLab(t)
	c.run("fault", "add", "create-fails", "--count", "1", "--name", "we*", "--message", "no luck")
	c.run("fault", "slow", "--for", "1ms")
	if out := c.run("fault", "list"); !strings.Contains(out, "create-fails") || !strings.Contains(out, "slow") {
		t.Errorf("fault list prints %q", out)
	}
	if _, err := c.try("add-foreign", "web"); err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("the fault says %v", err)
	}
	c.run("add-foreign", "web")
	if out := c.run("fault", "clear"); out != "2 cleared\n" {
		t.Errorf("fault clear prints %q", out)
	}
	c.run("restart", "--down", "1ms")
	c.run("wait", "--name", "web", "--status", "running")
}

func TestCloudRefusals(t *testing.T) {
	c := newCloudLab(t)
	for want, args := range map[string][]string{
		"command is missing":    nil,
		"unknown command":       {"dance"},
		"one instance":          {"stop"},
		"Instance not found":    {"stop", "nobody"},
		"cannot wait any":       {"wait", "--timeout", "10ms"},
		"bad pattern":           {"wait", "--name", "[x"},
		"unknown kind of fault": {"fault", "add", "earthquake"},
		"one kind of fault":     {"fault", "add"},
		"it is: lab cloud":      {"write", "web"},
		"exchange folder":       {"wait-file", "nobody", "x"},
	} {
		if _, err := c.try(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lab cloud %v: %v, want %q", args, err, want)
		}
	}
}

func TestCloudFaultsAreRefusedOnARealCloud(t *testing.T) {
	c := newCloudLab(t)
	facts := `{"cloud":"lxd","lxd_dir":"` + filepath.Join(c.dir, "lxd") + `"}`
	if err := os.WriteFile(filepath.Join(c.dir, "lab.json"), []byte(facts), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.try("fault", "add", "create-fails"); err == nil || !strings.Contains(err.Error(), "real cloud") {
		t.Errorf("fault add: %v", err)
	}
}
