package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github-runner/lab"
)

// newOpenStackLab is a lab whose cloud is an emulated OpenStack.
func newOpenStackLab(t *testing.T) cloudLab {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	facts, err := json.Marshal(lab.Lab{
		Cloud: lab.CloudOpenStackEmulated, OpenStack: &lab.OpenStack{Flavor: "m1.small", Network: "lab", Image: "noble"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"lab.json": facts, "before.json": []byte("{}")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, func(ctx context.Context, env environment) error {
		return cmdServeOpenStack(ctx, env, []string{"--dir", dir, "--boot", "1ms"})
	})
	return cloudLab{t: t, dir: dir}
}

// serve runs a background process of the lab until the test ends, and returns once it
// says that it is ready.
func serve(t *testing.T, run func(ctx context.Context, env environment) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said, ended := make(readiness, 1), make(chan error, 1)
	go func() { ended <- run(ctx, environment{Stdout: said, Stderr: t.Output()}) }()
	select {
	case <-said:
	case err := <-ended:
		t.Fatalf("it ended before it was ready: %v", err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended: %v", err)
		}
	})
}

// readiness hears what a background process says.
type readiness chan string

func (r readiness) Write(said []byte) (int, error) {
	r <- string(said)
	return len(said), nil
}

func TestOpenStackInstances(t *testing.T) {
	c := newOpenStackLab(t)
	c.run("add-foreign", "web")
	c.run("wait", "--name", "w*", "--status", "running", "--count", "1")
	c.run("reboot", "web")
	c.run("exit", "web")
	c.run("stop", "web")
	c.run("wait", "--name", "web", "--status", "stopped")
	var infos []instanceInfo
	if err := json.Unmarshal([]byte(c.run("instances", "--format", "json")), &infos); err != nil {
		t.Fatal(err)
	}
	if len(infos) != 2 || infos[0].Name != "bastion" || infos[1].Name != "web" || infos[1].Status != "stopped" || infos[1].Type != "virtual-machine" {
		t.Errorf("instances are %+v", infos)
	}
	if out, err := c.try("exit", "web"); err == nil || !strings.Contains(err.Error(), "is off") {
		t.Errorf("killing what does not run: %q, %v", out, err)
	}
	c.run("delete", "web")
	c.run("wait", "--name", "web", "--count", "0")
}

func TestOpenStackFiles(t *testing.T) {
	c := newOpenStackLab(t)
	if _, err := c.try("wait-file", "bastion", "note", "--timeout", "1ms"); err == nil || !strings.Contains(err.Error(), "has no file note") {
		t.Errorf("waiting for a file that nobody leaves: %v", err)
	}
	c.run("write", "bastion", "note", "a=1")
	c.run("wait-file", "bastion", "note")
	if got := c.run("cat", "bastion", "/home/ubuntu/metrics-exchange/note"); got != "a=1" {
		t.Errorf("the file says %q", got)
	}
}

func TestOpenStackImage(t *testing.T) {
	c := newOpenStackLab(t)
	before := c.run("images")
	said := c.run("image", "noble", "newer")
	if after := c.run("images"); after == before || strings.Count(after, "noble") != 1 || !strings.HasPrefix(said, "noble is ") {
		t.Errorf("image says %q; the images are\n%s, before\n%s", said, after, before)
	}
	own, err := os.ReadFile(filepath.Join(c.dir, "before.json"))
	if id := strings.TrimSpace(strings.TrimPrefix(said, "noble is ")); err != nil || !strings.Contains(string(own), id) {
		t.Errorf("the image %s is none of the lab's: %s, %v", id, own, err)
	}
}

func TestOpenStackGroups(t *testing.T) {
	c := newOpenStackLab(t)
	opened := regexp.MustCompile(`(?m)^default +ingress +IPv4 +any +any +0\.0\.0\.0/0$`)
	if got := c.run("groups"); opened.MatchString(got) || !strings.Contains(got, "egress") {
		t.Errorf("at first the groups are\n%s", got)
	}
	if got := c.run("edit-group", "default"); got != "opened default\n" {
		t.Errorf("it says %q", got)
	}
	if got := c.run("groups"); !opened.MatchString(got) {
		t.Errorf("then the groups are\n%s", got)
	}
	var infos []groupInfo
	if err := json.Unmarshal([]byte(c.run("groups", "--format", "json")), &infos); err != nil || len(infos) != 1 || len(infos[0].Rules) < 3 {
		t.Errorf("the groups are %+v, %v", infos, err)
	}
	if _, err := c.try("edit-group"); err == nil || !strings.Contains(err.Error(), "no security group but the default one") {
		t.Errorf("all groups, where there is none: %v", err)
	}
}

// Faults that let every call fail can be cleared all the same.
func TestOpenStackFaults(t *testing.T) {
	c := newOpenStackLab(t)
	c.run("fault", "add", "call-fails", "--status", "503")
	if _, err := c.try("instances"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("the fault says %v", err)
	}
	if out := c.run("fault", "list"); !strings.Contains(out, "call-fails") {
		t.Errorf("fault list prints %q", out)
	}
	if out := c.run("fault", "clear"); out != "1 cleared\n" {
		t.Errorf("fault clear prints %q", out)
	}
	c.run("restart", "--down", "1ms")
	c.run("wait", "--name", "bastion", "--status", "running")
}

func TestOpenStackRefusals(t *testing.T) {
	c := newOpenStackLab(t)
	for want, args := range map[string][]string{
		`0 servers are called "nobody"`:        {"stop", "nobody"},
		`there is no server "nobody"`:          {"cat", "nobody", "/x"},
		"there is no such file":                {"cat", "bastion", "/x"},
		"for LXD alone":                        {"edit-profile"},
		"cannot do that on the cloud":          {"edit-network"},
		"openstack-emulated":                   {"acls"},
		"it is for LXD":                        {"add-python-charm", "github-runner/0"},
		"one type":                             {"image", "noble", "container"},
		`there is no public image "appliance"`: {"image", "appliance", "newer"},
		`there is no security group web`:       {"edit-group", "web"},
		"unknown kind of fault":                {"fault", "add", "pool-full"},
		"is not inside":                        {"write", "bastion", "../x", "y"},
	} {
		if _, err := c.try(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lab cloud %v: %v, want %q", args, err, want)
		}
	}
}

func TestEditGroupIsForOpenStack(t *testing.T) {
	c := newCloudLab(t)
	if _, err := c.try("edit-group"); err == nil || !strings.Contains(err.Error(), "for OpenStack alone") {
		t.Errorf("edit-group: %v", err)
	}
}
