package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/sirupsen/logrus"

	"github-runner/lab"
	"github-runner/lab/github"
	"github-runner/lab/lxd"
	"github-runner/lab/runnerapp"
)

const (
	// imageAlias is the image that runners start from; every lab has it.
	imageAlias = "noble"
	// poolName is the charm's, which all units of a machine share.
	poolName      = "github-runner"
	emulatedCloud = "emulated LXD"
)

// stage is what a unit plays on: a cloud's API and GitHub's.
type stage struct {
	cloud string
	// model is the UUID of a model of its own: two runs on one machine must not
	// want the same bridge.
	model string
	// dir is a folder of the stage's own.
	dir string
	// lxdDir and root are what hooks get as LXD_DIR and GITHUB_RUNNER_ROOT; lxdDir is
	// "" where the cloud is no LXD.
	lxdDir, root string
	githubURL    string
	github       *github.Client
	// lxdCalls counts the calls of LXD's API; nil where nobody counts.
	lxdCalls *atomic.Int64
	// openStack is the cloud where that is an OpenStack; else nil.
	openStack *openStack
	// end ends what was started for the stage, the last first.
	end []func(context.Context) error
}

// openStage opens a stage on the chosen cloud.
func (s *session) openStage(ctx context.Context) (*stage, error) {
	running, err := lab.Open(s.Dir)
	switch {
	case err == nil && running.Cloud == lab.CloudLXD && s.Cloud != lab.CloudEmulated:
		s.say("using the lab in %s", running.Dir)
		return onLab(running)
	case err != nil && !errors.Is(err, lab.ErrNone):
		return nil, err
	}
	options := lab.Options{Dir: s.Dir, Cloud: s.Cloud, Program: s.Lab, Images: s.Images, Progress: s.Progress}
	cloud, err := lab.ChooseCloud(options)
	if err != nil {
		return nil, err
	}
	if cloud == lab.CloudEmulated {
		return openEmulated(s.Lab)
	}
	s.say("bringing up a lab with real LXD in %s", s.Dir)
	own, err := lab.Up(ctx, options)
	if err != nil {
		return nil, err
	}
	opened, err := onLab(own)
	if err != nil {
		return nil, errors.Join(err, lab.Down(ctx, own.Dir, io.Discard))
	}
	opened.end = append(opened.end, func(ctx context.Context) error { return lab.Down(ctx, own.Dir, io.Discard) })
	return opened, nil
}

// onLab is a stage in a lab that is up.
func onLab(l *lab.Lab) (*stage, error) {
	on := &stage{cloud: l.Cloud, lxdDir: l.LXDDir, root: l.Root, githubURL: l.GitHubURL, github: github.Dial(l.GitHubSocket())}
	return on, on.makeDir()
}

// openEmulated serves an emulated LXD and GitHub from this process, whose own
// cost is not measured.
func openEmulated(program string) (*stage, error) {
	return openServed(program, &stage{cloud: lab.CloudEmulated}, (*stage).serveLXD)
}

// openServed serves GitHub for a new stage, and its cloud by serveCloud.
func openServed(program string, on *stage, serveCloud func(*stage) error) (_ *stage, err error) {
	if err := on.makeDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, on.close(context.Background()))
		}
	}()
	on.root = filepath.Join(on.dir, "root")
	if err := os.Mkdir(on.root, 0o755); err != nil {
		return nil, err
	}
	if err := on.serveGitHub(program); err != nil {
		return nil, err
	}
	return on, serveCloud(on)
}

func (on *stage) makeDir() error {
	dir, err := os.MkdirTemp("", "lab-bench-")
	if err != nil {
		return fmt.Errorf("cannot make a folder for benchmarks: %w", err)
	}
	on.dir = dir
	on.model = newUUID()
	on.end = append(on.end, func(context.Context) error { return os.RemoveAll(dir) })
	return nil
}

// newUUID returns a random UUID, version 4.
func newUUID() string {
	var random [16]byte
	rand.Read(random[:]) // never fails, by its contract
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
}

func (on *stage) serveGitHub(program string) error {
	applications, err := filepath.Glob(filepath.Join(filepath.Dir(program), runnerapp.FileName("*")))
	if err != nil || len(applications) == 0 {
		return fmt.Errorf("cannot find the runner application beside %s: 'make build' makes it (%w)", program, err)
	}
	server, err := github.New(github.Options{
		Applications: applications,
		// More than a run of benchmarks calls, and a runner that is slow because
		// this machine is measured is not offline.
		Limit:        1 << 20,
		OfflineAfter: time.Minute,
		Log:          silent(),
	})
	if err != nil {
		return err
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot serve GitHub: %w", err)
	}
	on.serve(api, server)
	socket := filepath.Join(on.dir, "github.sock")
	control, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("cannot serve GitHub: %w", err)
	}
	on.serve(control, server.Control())
	on.githubURL = "http://" + api.Addr().String()
	on.github = github.Dial(socket)
	return nil
}

// serveLXD emulates LXD behind a socket that counts the calls.
func (on *stage) serveLXD() error {
	on.lxdCalls = new(atomic.Int64)
	on.lxdDir = filepath.Join(on.dir, "counted")
	if err := os.Mkdir(on.lxdDir, 0o755); err != nil {
		return err
	}
	server, err := lxd.New(lxd.Options{
		Dir:    on.dir,
		Timing: lxd.Quick(),
		Log:    silent(),
		Listen: func(jit string) (lxd.Listener, error) { return runnerapp.Open(jit) },
	})
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(life, func() {}) }()
	on.end = append(on.end, func(context.Context) error { end(); return <-ended })

	counted, err := net.Listen("unix", filepath.Join(on.lxdDir, "unix.socket"))
	if err != nil {
		return fmt.Errorf("cannot serve LXD: %w", err)
	}
	api := server.Handler()
	on.serve(counted, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		on.lxdCalls.Add(1)
		api.ServeHTTP(w, r)
	}))
	return nil
}

// serve answers on a listener until the stage is closed.
func (on *stage) serve(listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // ends when it is closed
	on.end = append(on.end, func(context.Context) error { return server.Close() })
}

func silent() *logrus.Entry {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return logrus.NewEntry(log)
}

// close ends all that was started for the stage.
func (on *stage) close(ctx context.Context) error {
	var problems []error
	for i := len(on.end) - 1; i >= 0; i-- {
		problems = append(problems, on.end[i](ctx))
	}
	return errors.Join(problems...)
}

// environment is what hooks get of the stage.
func (on *stage) environment() []string {
	variables := []string{"GITHUB_RUNNER_ROOT=" + on.root}
	if on.lxdDir != "" {
		variables = append(variables, "LXD_DIR="+on.lxdDir)
	}
	return variables
}

func (on *stage) lxdSocket() string { return filepath.Join(on.lxdDir, "unix.socket") }

// api is the base of GitHub's REST API.
func (on *stage) api() string { return on.githubURL + "/api/v3" }

// connect returns a client of LXD's without anything of the charm.
func (on *stage) connect(ctx context.Context) (client.InstanceServer, error) {
	server, err := client.ConnectLXDUnixWithContext(ctx, on.lxdSocket(), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot use LXD at %s: %w", on.lxdSocket(), err)
	}
	return server, nil
}

// describe says what the cloud is, for the report: a unit's pool must be there.
func (on *stage) describe(ctx context.Context) string {
	if on.cloud == lab.CloudEmulated {
		return emulatedCloud
	}
	server, err := on.connect(ctx)
	if err != nil {
		return "LXD, which does not answer"
	}
	defer server.Disconnect()
	text := "LXD"
	if info, _, err := server.GetServer(); err == nil {
		text += " " + info.Environment.ServerVersion
	}
	if pool, _, err := server.GetStoragePool(poolName); err == nil {
		text += ", storage " + pool.Driver
	}
	return text
}

// waitOnline blocks until exactly so many runners of a prefix are online at
// GitHub, whatever the charm thinks of them.
func (on *stage) waitOnline(ctx context.Context, prefix string, count int, timeout time.Duration) error {
	return on.github.Wait(ctx, github.Condition{Prefix: prefix, Online: &count, Timeout: timeout})
}
