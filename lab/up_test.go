package lab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/lab/github"
	"github-runner/lab/image"
	emulation "github-runner/lab/lxd"
	"github-runner/lab/openstack"
	"github-runner/lab/skip"
)

// TestMain lets the test program be the lab program, of which GitHub and
// both LXDs are real and Juju only says that it is ready.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "serve-") && os.Args[1] != "keep-lxd" {
		os.Exit(m.Run())
	}
	if err := serve(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(name string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	dir := flags.String("dir", "", "")
	listen := flags.String("listen", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ready := func() { fmt.Println("ready") }
	if name == "serve-github" {
		server, err := github.New(github.Options{Log: logrus.NewEntry(logrus.New())})
		if err != nil {
			return err
		}
		return server.Serve(ctx, *listen, filepath.Join(*dir, "github.sock"), ready)
	}
	if name == "keep-lxd" {
		return KeepLXD(ctx, os.Stderr)
	}
	if name == "serve-lxd" {
		server, err := emulation.New(emulation.Options{Dir: *dir, Timing: emulation.Quick(), Log: logrus.NewEntry(logrus.New())})
		if err != nil {
			return err
		}
		return server.Serve(ctx, ready)
	}
	if name == "serve-openstack" {
		return serveOpenStack(ctx, *dir, *listen, ready)
	}
	ready()
	<-ctx.Done()
	return nil
}

// serveOpenStack is the emulated OpenStack, as the lab program serves it.
func serveOpenStack(ctx context.Context, dir, listen string, ready func()) error {
	server, err := openstack.New(openstack.Options{Dir: dir, Address: listen, Timing: openstack.Quick(), Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		return err
	}
	var unwritten error
	err = server.Serve(ctx, func() {
		unwritten = os.WriteFile((&Lab{Dir: dir}).CloudsPath(), []byte(server.CloudsYAML("lab", "lab")), 0o600)
		ready()
	})
	return errors.Join(err, unwritten)
}

func testOptions(t *testing.T, cloud string) (Options, *bytes.Buffer) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	return Options{
		Dir:      filepath.Join(shortTempDir(t), "lab"),
		Cloud:    cloud,
		Program:  program,
		Images:   image.Builder{Cache: image.DefaultCache, Mirror: image.DefaultMirror},
		Progress: &progress,
	}, &progress
}

// shortTempDir is a directory whose path leaves room for sockets and which
// containers' users can get through.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "lab")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestEmulatedUpAndDown(t *testing.T) {
	testUpAndDown(t, CloudEmulated)
}

func TestEmulatedOpenStackUpAndDown(t *testing.T) {
	testUpAndDown(t, CloudOpenStackEmulated)
}

func TestRealLXDUpAndDown(t *testing.T) {
	testUpAndDown(t, CloudLXD)
}

func testUpAndDown(t *testing.T, cloud string) {
	options, progress := testOptions(t, cloud)
	if obstacle := lxdObstacle(options.Images); cloud == CloudLXD && obstacle != "" {
		skip.Because(t, "real LXD can't run here: %s", obstacle)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()

	l, err := Up(ctx, options)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress)
	}
	t.Cleanup(func() {
		if err := Down(context.Background(), options.Dir, progress); err != nil && !errors.Is(err, ErrNone) {
			t.Error(err)
		}
	})
	if left, err := l.Leftovers(ctx); err != nil || !left.Empty() {
		t.Errorf("before anything was deployed: left %v, error %v", left, err)
	}
	if _, err := Up(ctx, options); err == nil || !strings.Contains(err.Error(), "one is running there") {
		t.Errorf("a second Up: error %v, want a refusal", err)
	}

	if err := Down(ctx, options.Dir, progress); err != nil {
		t.Errorf("Down: %v", err)
	}
	if _, err := os.Stat(options.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's directory is still there: %v", err)
	}
	for _, p := range l.Processes {
		if p.Alive() {
			t.Errorf("%s still runs", p.Name)
		}
	}
	t.Logf("%s", progress)
}

// What up had made before it failed is gone again, and the error says why.
func TestRealLXDUpThatFails(t *testing.T) {
	options, progress := testOptions(t, CloudLXD)
	if obstacle := lxdObstacle(options.Images); obstacle != "" {
		skip.Because(t, "real LXD can't run here: %s", obstacle)
	}
	script := fmt.Sprintf("#!/bin/sh\n[ $1 = serve-juju ] && { echo no model today; exit 1; }\nexec %s \"$@\"\n", options.Program)
	options.Program = filepath.Join(filepath.Dir(options.Dir), "program")
	if err := os.WriteFile(options.Program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Up(context.Background(), options)
	if err == nil || !strings.Contains(err.Error(), "no model today") {
		t.Errorf("Up: %v, want an error with what the process said", err)
	}
	if _, err := os.Stat(options.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lab's directory is still there: %v", err)
	}
	strays, err := processes((&Lab{Dir: options.Dir, LXDDir: options.Dir + "/lxd"}).isStray)
	if err != nil || len(strays) > 0 {
		t.Errorf("processes are left: %v, error %v", strays, err)
	}
	if !strings.Contains(progress.String(), "removing what was made so far") {
		t.Errorf("it says nothing of cleaning up:\n%s", progress)
	}
}
