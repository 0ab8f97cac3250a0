package openstack

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"go.yaml.in/yaml/v3"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/charm/secret"
	"github-runner/lab/clock"
	"github-runner/lab/faults"
	"github-runner/lab/guests"
	"github-runner/lab/pipe"
	"github-runner/lab/runnerapp"
)

// stayUp is how long a runner's server stays up after the runner's end.
const stayUp = 10 * time.Minute

// session is a runner application's with GitHub, as one test has it.
type session struct {
	jobs     chan runnerapp.Job
	online   bool
	finished string
	closed   bool
	// takes is how long its job takes.
	takes time.Duration
}

func (s *session) Online(context.Context) error {
	s.online = true
	return nil
}

func (s *session) NextJob(ctx context.Context) (runnerapp.Job, error) {
	select {
	case job, ok := <-s.jobs:
		if !ok {
			return runnerapp.Job{}, runnerapp.ErrGone
		}
		return job, nil
	case <-ctx.Done():
		return runnerapp.Job{}, ctx.Err()
	}
}

func (s *session) Work(ctx context.Context, _ runnerapp.Job) (string, error) {
	return runnerapp.Success, clock.Pause(ctx, s.takes)
}

func (s *session) Log(context.Context, int64, string) error { return nil }

func (s *session) Finish(_ context.Context, _ int64, conclusion string) error {
	s.finished = conclusion
	return nil
}

func (s *session) Close() error {
	s.closed = true
	return nil
}

// life is a cloud with one runner in it.
type life struct {
	*cloud
	all     clients
	id      string
	session *session
}

// inLife runs a test with a runner whose user-data is the charm's own, and with faults
// that are in force before it is made.
func inLife(t *testing.T, options Options, machine cloudinit.Machine, test func(l *life), first ...faults.Fault) {
	t.Helper()
	l := &life{session: &session{takes: time.Hour}}
	options.Listen = func(jit string) (guests.Listener, error) {
		if jit != "and0LWJsb2I=" {
			t.Errorf("the application gets the JIT configuration %q", jit)
		}
		return l.session, nil
	}
	inCloud(t, options, func(t *testing.T, c *cloud) {
		l.cloud, l.all, l.session.jobs = c, c.clients("lab"), make(chan runnerapp.Job, 1)
		machine.Name, machine.JIT, machine.PowerOffDelay = "runner-1", secret.New("and0LWJsb2I="), stayUp
		data, err := cloudinit.UserData(machine)
		must(t, err)
		for _, f := range first {
			c.fault(f)
		}
		opts := c.runner(l.all, machine.Name)
		opts.UserData = data
		l.id = c.create(l.all, opts).ID
		l.wait(c.options.Timing.Boot)
		test(l)
	})
}

// wait lets time pass.
func (l *life) wait(d time.Duration) {
	time.Sleep(d) // of the bubble's fake clock
	synctest.Wait()
}

// status is the server's.
func (l *life) status() string {
	l.t.Helper()
	l.all = l.clients("lab") // tokens do not last for ever
	return l.get(l.all, l.id).Status
}

// left is what the runner left for the manager.
func (l *life) left(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.servers {
		if v.id == l.id {
			return v.disk.Read(cloudinit.ExchangeDir + "/" + name)
		}
	}
	return "the server is gone"
}

func (l *life) console(lines int) string {
	l.t.Helper()
	text, err := servers.ShowConsoleOutput(l.t.Context(), l.all.compute, l.id, servers.ShowConsoleOutputOpts{Length: lines}).Extract()
	must(l.t, err)
	return text
}

func TestGuestRunsOneJobAndPowersOff(t *testing.T) {
	inLife(t, Options{}, cloudinit.Machine{}, func(l *life) {
		t := l.t
		if !l.session.online || l.status() != "ACTIVE" {
			t.Fatalf("online is %v, the server %s: %s", l.session.online, l.status(), l.console(10))
		}
		l.session.jobs <- runnerapp.Job{ID: 4, Name: "build", Workflow: "CI"}
		l.wait(time.Minute)
		if got := l.left(cloudinit.PreJobMetricsFile); !strings.Contains(got, `"workflow":"CI"`) {
			t.Errorf("at work it has left %q", got)
		}
		l.wait(l.session.takes)
		if l.session.finished != runnerapp.Success || !l.session.closed || l.status() != "ACTIVE" {
			t.Errorf("the job ends as %q, the session %v, the server is %s", l.session.finished, l.session.closed, l.status())
		}
		if got := l.left(cloudinit.PostJobMetricsFile); !strings.Contains(got, `"status": "normal"`) {
			t.Errorf("at its end it has left %q", got)
		}
		if want := "Running job: build\nJob build completed with result: success"; l.console(2) != want {
			t.Errorf("the console says %q, want %q", l.console(2), want)
		}
		l.wait(stayUp)
		if l.status() != "SHUTOFF" {
			t.Errorf("the server is %s", l.status())
		}
		// It must not serve again.
		l.session.online = false
		must(t, servers.Start(t.Context(), l.all.compute, l.id).ExtractErr())
		l.wait(stayUp + time.Minute)
		if l.session.online || l.status() != "SHUTOFF" || !strings.Contains(l.console(1), "has served already") {
			t.Errorf("online again is %v, the server %s: %s", l.session.online, l.status(), l.console(1))
		}
	})
}

func TestGuestsThatEndWithoutAJob(t *testing.T) {
	tests := map[string]struct {
		fault faults.Fault
		act   func(l *life)
		// then is the server's status after an hour, said what is on its console.
		then, said string
	}{
		"registration gone":  {then: "SHUTOFF", said: "Listening for Jobs", act: func(l *life) { close(l.session.jobs) }},
		"application exits":  {fault: faults.Fault{Kind: guests.AppExits, Message: "no libicu"}, then: "SHUTOFF", said: "no libicu"},
		"never online":       {fault: faults.Fault{Kind: guests.NeverOnline}, then: "ACTIVE", said: "connecting to GitHub"},
		"slow boot":          {fault: faults.Fault{Kind: SlowBoot, For: 2 * time.Hour}, then: "ACTIVE"},
		"does not power off": {fault: faults.Fault{Kind: PowerOffHangs}, then: "ACTIVE", said: "Listening", act: func(l *life) { close(l.session.jobs) }},
		"switched off":       {then: "SHUTOFF", said: "Listening", act: func(l *life) { must(l.t, servers.Stop(l.t.Context(), l.all.compute, l.id).ExtractErr()) }},
		"waits":              {then: "ACTIVE", said: "Listening"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var first []faults.Fault
			if test.fault.Kind != "" {
				first = append(first, test.fault)
			}
			inLife(t, Options{}, cloudinit.Machine{}, func(l *life) {
				if test.act != nil {
					test.act(l)
				}
				l.wait(time.Hour)
				if got := l.status(); got != test.then || !strings.Contains(l.console(10), test.said) {
					l.t.Errorf("the server is %s, want %s, and says %q", got, test.then, l.console(10))
				}
			}, first...)
		})
	}
}

func TestGuestDiesWithItsServer(t *testing.T) {
	inLife(t, Options{}, cloudinit.Machine{}, func(l *life) {
		l.session.jobs <- runnerapp.Job{ID: 4}
		l.wait(time.Minute)
		must(l.t, servers.Delete(l.t.Context(), l.all.compute, l.id).ExtractErr())
		l.wait(2 * l.session.takes)
		if l.session.finished != "" || l.session.closed {
			l.t.Errorf("without a machine the job ends as %q, the session is closed: %v", l.session.finished, l.session.closed)
		}
	})
}

// A server that can't be deleted goes on with its job.
func TestGuestLivesOnWhereDeletingHangs(t *testing.T) {
	inLife(t, Options{}, cloudinit.Machine{}, func(l *life) {
		l.fault(faults.Fault{Kind: DeleteHangs})
		l.session.jobs <- runnerapp.Job{ID: 4}
		l.wait(time.Minute)
		must(l.t, servers.Delete(l.t.Context(), l.all.compute, l.id).ExtractErr())
		l.wait(l.session.takes)
		if l.session.finished != runnerapp.Success {
			l.t.Errorf("the job ends as %q", l.session.finished)
		}
	})
}

func TestGuestAsksThePolicyService(t *testing.T) {
	for name, test := range map[string]struct {
		answer int
		want   string
	}{
		"allowed":   {http.StatusNoContent, `"status": "normal"`},
		"forbidden": {http.StatusForbidden, `"status": "repo-policy-check-failure", "status_info": {"code": 403}`},
	} {
		t.Run(name, func(t *testing.T) {
			m := pipe.NewNetwork()
			machine := cloudinit.Machine{Policy: &cloudinit.Policy{URL: "http://policy.test", Token: secret.New("token")}}
			inLife(t, Options{Dial: m.Dial}, machine, func(l *life) {
				listener, err := m.Listen("", "policy.test:80")
				must(l.t, err)
				service := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if got := r.Header.Get("Authorization"); got != "Bearer token" {
						l.t.Errorf("it shows %q", got)
					}
					w.WriteHeader(test.answer)
				})}
				go func() { _ = service.Serve(listener) }() // ends when it is closed
				defer service.Close()
				l.session.jobs <- runnerapp.Job{ID: 4, Event: "push", Repository: "acme/widgets"}
				l.wait(l.session.takes + time.Minute)
				if got := l.left(cloudinit.PostJobMetricsFile); !strings.Contains(got, test.want) {
					l.t.Errorf("it has left %q, want %q", got, test.want)
				}
			})
		})
	}
}

// A machine makes itself into an image, of which a snapshot is taken; another one, of
// the snapshot, tries it.
func TestImagesAreBuiltAndTried(t *testing.T) {
	facts := func(c *cloud, all clients, name, imageRef string, f image.Facts) *servers.Server {
		content, err := json.Marshal(f)
		must(c.t, err)
		file, err := yaml.Marshal(map[string]any{"write_files": []map[string]string{{"path": image.FactsPath, "content": string(content)}}})
		must(c.t, err)
		opts := c.runner(all, name)
		opts.UserData = append([]byte("#cloud-config\n"), file...)
		if imageRef != "" {
			opts.ImageRef = imageRef
		}
		v := c.create(all, opts)
		time.Sleep(time.Minute) // of the bubble's fake clock
		return c.get(all, v.ID)
	}
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		builder := facts(c, all, "builder", "", image.Facts{RunnerVersion: "2.330.0"})
		l := &life{cloud: c, all: all, id: builder.ID}
		if got := l.left(image.ResultFile); builder.Status != "SHUTOFF" || got != `{"runner-version":"2.330.0"}`+"\n" {
			t.Fatalf("the builder is %s and has left %q", builder.Status, got)
		}
		made, err := servers.CreateImage(t.Context(), all.compute, builder.ID, servers.CreateImageOpts{Name: "runner-image"}).ExtractImageID()
		must(t, err)
		time.Sleep(time.Minute) // of the bubble's fake clock
		trial := facts(c, all, "trial", made, image.Facts{Trial: true})
		l.id = trial.ID
		if got := l.left(image.ResultFile); trial.Status != "SHUTOFF" || !strings.Contains(got, "2.330.0") {
			t.Errorf("the trial is %s and has left %q", trial.Status, got)
		}
		l.id = facts(c, all, "stock", "", image.Facts{Trial: true}).ID
		if got := l.left(image.ResultFile); !strings.Contains(got, "is not there") {
			t.Errorf("the trial of the stock image has left %q", got)
		}
		c.fault(faults.Fault{Kind: guests.BuildFails, Message: "no docker.io"})
		l.id = facts(c, all, "broken", "", image.Facts{}).ID
		if want := "github-runner-image: no docker.io"; l.console(1) != want {
			t.Errorf("the console of one that fails says %q", l.console(1))
		}
	})
}
