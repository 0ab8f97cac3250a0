package lxd

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/lab/runnerapp"
)

// Listener is the session of a runner application with GitHub; a
// *runnerapp.Session is one.
type Listener interface {
	Online(ctx context.Context) error
	NextJob(ctx context.Context) (runnerapp.Job, error)
	Work(ctx context.Context, job runnerapp.Job) (string, error)
	Log(ctx context.Context, jobID int64, text string) error
	Finish(ctx context.Context, jobID int64, conclusion string) error
	Close() error
}

const (
	// onlineRetry is the time between two attempts to come online.
	onlineRetry = 500 * time.Millisecond
	// killed is the exit status of an application that was killed.
	killed = 137
)

// guest is what runs in an instance, from its power-on to its power-off.
type guest struct {
	server   *Server
	instance *instance
	name     string
	userData string
	// agent is set once a virtual machine's lxd-agent is up; it is guarded by
	// the server's mu. agentUp is closed then.
	agent   bool
	agentUp chan struct{}
	// booted is closed once the guest has booted.
	booted chan struct{}
	// exchange is the host's side of the exchange folder; "": there is none.
	exchange string

	ctx context.Context
	// pull pulls the plug.
	pull context.CancelFunc
	// application is the context of the runner application; kill ends it.
	application context.Context
	kill        context.CancelFunc
	// atWork is set while the application has a job.
	atWork atomic.Bool
	// refused is why its job may not run. It belongs to the guest's own life.
	refused *turnedAway
}

// boot returns the guest of an instance that was just switched on; s.mu is held.
func (s *Server) boot(i *instance) *guest {
	g := &guest{
		server: s, instance: i, name: i.Name, userData: i.expandedConfig(s)["cloud-init.user-data"],
		agentUp: make(chan struct{}), booted: make(chan struct{}),
	}
	for _, device := range i.expandedDevices(s) {
		if device["type"] == "disk" && device["path"] == cloudinit.ExchangeDir {
			g.exchange = device["source"]
		}
	}
	g.ctx, g.pull = context.WithCancel(s.life)
	g.application, g.kill = context.WithCancel(g.ctx)
	if i.virtual() {
		go g.startAgent()
	}
	go g.live()
	return g
}

// live is the guest's life; it ends with a power-off, by itself or from outside.
func (g *guest) live() {
	defer g.kill()
	faults, timing := g.server.faults, g.server.options.Timing
	boot := timing.Boot
	if g.instance.virtual() {
		boot += timing.Firmware
	}
	if f := faults.take(SlowBoot, g.name); f != nil {
		boot = f.duration(time.Minute)
	}
	if pause(g.ctx, boot) != nil {
		return
	}
	close(g.booted)
	if g.awaitAgent() != nil {
		return
	}
	facts := writtenFile(g.userData, image.FactsPath)
	jit := writtenFile(g.userData, cloudinit.JITPath)
	switch {
	case facts != "":
		g.makeImage(facts)
	case jit != "":
		g.end(g.serve(strings.TrimSpace(jit)))
	default:
		<-g.ctx.Done() // somebody's machine
		return
	}
	if faults.take(PowerOffHangs, g.name) != nil {
		<-g.ctx.Done()
		return
	}
	if pause(g.ctx, timing.PowerOff) != nil {
		return
	}
	g.server.shutDown(g.instance, g)
}

// serve is the start script of the in-guest service. It returns the exit status
// of the application.
func (g *guest) serve(jit string) int {
	g.server.mu.Lock()
	again := g.instance.started()
	if !again {
		g.instance.Files[cloudinit.StartedPath] = ""
		g.server.changed(g.instance)
	}
	g.server.mu.Unlock()
	mounted := g.hasExchange()
	if again {
		g.log("github-runner: this machine has served already")
		return 1
	}
	if !mounted {
		return 1
	}
	if f := g.server.faults.take(AppExits, g.name); f != nil {
		g.log(f.message("An error occurred: the runner application can't start"))
		return 1
	}
	if g.server.faults.take(NeverOnline, g.name) != nil {
		g.log("connecting to GitHub")
		<-g.application.Done()
		return killed
	}
	session, err := g.server.options.Listen(jit)
	if err != nil {
		g.log(err.Error())
		return 1
	}
	code := g.listen(session)
	if g.application.Err() == nil {
		// A guest that lost its power says no goodbye.
		_ = session.Close()
	}
	return code
}

// listen is the runner application.
func (g *guest) listen(session Listener) int {
	if err := g.online(session); err != nil {
		g.log(err.Error())
		return 1
	}
	g.log("Listening for Jobs")
	job, err := session.NextJob(g.application)
	if err != nil {
		g.log(err.Error())
		return 1
	}
	g.log("Running job: " + job.Name)
	defer g.process("Runner.Worker")()
	g.atWork.Store(true)
	defer g.atWork.Store(false)
	if g.preJob(job) != nil {
		return killed
	}
	conclusion, err := g.work(session, job)
	if err != nil {
		return killed
	}
	g.log("Job " + job.Name + " completed with result: " + conclusion)
	if err := session.Finish(g.application, job.ID, conclusion); err != nil {
		g.log(err.Error())
	}
	return 0
}

// work does the job, unless it may not run.
func (g *guest) work(session Listener, job runnerapp.Job) (conclusion string, err error) {
	if g.refused == nil {
		return session.Work(g.application, job)
	}
	if err := session.Log(g.application, job.ID, g.refused.said+"\nThis runner ends now.\n"); err != nil {
		g.log(err.Error())
	}
	return runnerapp.Failure, g.application.Err()
}

// online connects, however long GitHub does not answer.
func (g *guest) online(session Listener) error {
	for {
		err := session.Online(g.application)
		if err == nil || errors.Is(err, runnerapp.ErrGone) || errors.Is(err, runnerapp.ErrConflict) {
			return err
		}
		if stopped := pause(g.application, onlineRetry); stopped != nil {
			return err
		}
	}
}

// preJob is the script that runs before a job's first step.
func (g *guest) preJob(job runnerapp.Job) error {
	metrics, err := json.Marshal(map[string]any{
		"workflow": job.Workflow, "repository": job.Repository, "event": job.Event,
		"timestamp": now(), "workflow_run_id": fmt.Sprint(job.RunID),
	})
	if err != nil {
		return err
	}
	g.leave(cloudinit.PreJobMetricsFile, string(metrics)+"\n")
	if f := g.server.faults.take(LongPreJob, g.name); f != nil {
		if err := pause(g.application, f.duration(time.Hour)); err != nil {
			return err
		}
	}
	var refused turnedAway
	if errors.As(g.check(job), &refused) {
		g.refused = &refused
	}
	if err := g.application.Err(); err != nil {
		return err
	}
	g.leave(cloudinit.PreJobDoneFile, "")
	return nil
}

// end is the stop script of the in-guest service. A guest without power does
// not get to it.
func (g *guest) end(code int) {
	if g.ctx.Err() != nil {
		return
	}
	status := "abnormal"
	if code == 0 && g.left(cloudinit.PreJobDoneFile) {
		status = "normal"
	}
	if g.refused != nil {
		status, code = g.refused.status, g.refused.code
	}
	g.leave(cloudinit.PostJobMetricsFile, fmt.Sprintf(`{"timestamp": %.3f, "status": %q, "status_info": {"code": %d}}`+"\n", now(), status, code))
	g.leave(cloudinit.RunCompletedFile, "")
}

// log prints a line, as service and application do, where the host can read it.
func (g *guest) log(line string) {
	if g.exchange == "" {
		return
	}
	if err := appendTo(g.exchange, cloudinit.DiagFile, line+"\n"); err != nil {
		g.server.options.Log.WithError(err).WithField("instance", g.name).Debug("the guest could not print")
	}
}

// leave writes a file into the exchange folder, all at once.
func (g *guest) leave(name, content string) {
	if g.exchange == "" {
		return
	}
	if err := writeInto(g.exchange, name, content); err != nil {
		g.server.options.Log.WithError(err).WithField("instance", g.name).Debug("the guest could not leave a file")
	}
}

func (g *guest) left(name string) bool {
	root, err := os.OpenRoot(g.exchange)
	if err != nil {
		return false
	}
	defer root.Close()
	_, err = root.Lstat(name)
	return err == nil
}

// writeInto replaces a file in a folder, whatever lies under its name.
func writeInto(folder, name, content string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.WriteFile("."+name, []byte(content), 0o644); err != nil {
		return err
	}
	return root.Rename("."+name, name)
}

func appendTo(folder, name, content string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Close())
}

// now is the time as the scripts write it: seconds with a fraction.
func now() float64 {
	return float64(time.Now().UnixMilli()) / 1000
}

// writtenFile is what a #cloud-config document writes to a path; "" when it is
// no such document or has no such file.
func writtenFile(userData, path string) string {
	if !strings.HasPrefix(userData, "#cloud-config") {
		return ""
	}
	var document struct {
		WriteFiles []struct {
			Path     string `yaml:"path"`
			Content  string `yaml:"content"`
			Encoding string `yaml:"encoding"`
		} `yaml:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(userData), &document); err != nil {
		return ""
	}
	for _, file := range document.WriteFiles {
		if file.Path != path {
			continue
		}
		return decoded(file.Content, file.Encoding)
	}
	return ""
}

// decoded is a file's content in one of cloud-init's encodings; "" where it is
// none.
func decoded(content, encoding string) string {
	var reader io.Reader = strings.NewReader(content)
	switch encoding {
	case "gz+b64", "gz+base64", "gzip+b64", "gzip+base64":
		unzipped, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, reader))
		if err != nil {
			return ""
		}
		reader = unzipped
	case "b64", "base64":
		reader = base64.NewDecoder(base64.StdEncoding, reader)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		return ""
	}
	return string(text)
}
