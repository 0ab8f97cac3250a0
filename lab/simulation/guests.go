package simulation

import (
	"context"
	"hash/fnv"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github-runner/lab/clock"
	"github-runner/lab/github"
	"github-runner/lab/lxd"
	"github-runner/lab/runnerapp"
)

// guests are the runner applications in all machines, and what became of them.
type guests struct {
	github *github.Server
	story  *story
	// exchange is the host's folder with the folders of all runners.
	exchange string
	// ended is told of each runner whose application has ended.
	ended func(name string)

	mu    sync.Mutex
	lives map[string]*guestLife
}

// guestLife is what one runner did.
type guestLife struct {
	online int
	jobs   []int64
	// lost are jobs whose machine ended before them, and when.
	lost map[int64]time.Time
}

func newGuests(server *github.Server, exchange string, story *story) *guests {
	return &guests{github: server, story: story, exchange: exchange, lives: map[string]*guestLife{}}
}

// listen opens the session of a guest's runner application.
func (g *guests) listen(jit string) (lxd.Listener, error) {
	attached, err := g.github.Attach(jit)
	if err != nil {
		return nil, err
	}
	return &session{Attached: attached, guests: g}, nil
}

// note changes what is known of a guest.
func (g *guests) note(name string, change func(*guestLife)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lives[name] == nil {
		g.lives[name] = &guestLife{lost: map[int64]time.Time{}}
	}
	change(g.lives[name])
}

// each looks at all guests, by name.
func (g *guests) each(look func(name string, life guestLife)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var names []string
	for name := range g.lives {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		look(name, *g.lives[name])
	}
}

// session is a runner application's with GitHub.
type session struct {
	*github.Attached
	guests *guests
}

// Online implements lxd.Listener.
func (s *session) Online(ctx context.Context) error {
	err := s.Attached.Online(ctx)
	if err == nil {
		s.guests.note(s.Name(), func(life *guestLife) { life.online++ })
	}
	return err
}

// NextJob implements lxd.Listener. Between GitHub's word and the job's worker
// lies a second or two.
func (s *session) NextJob(ctx context.Context) (runnerapp.Job, error) {
	job, err := s.Attached.NextJob(ctx)
	if err != nil {
		return job, err
	}
	s.guests.note(s.Name(), func(life *guestLife) { life.jobs = append(life.jobs, job.ID) })
	s.guests.story.tell("GitHub gives job %d to %s", job.ID, s.Name())
	if err := s.pass(ctx, delay(s.Name()), job); err != nil {
		return runnerapp.Job{}, err
	}
	return job, nil
}

// Work implements lxd.Listener.
func (s *session) Work(ctx context.Context, job runnerapp.Job) (string, error) {
	if play := tricks[job.Name]; play != nil {
		// What it could not do does no harm.
		_ = play(filepath.Join(s.guests.exchange, s.Name()))
	}
	conclusion, err := s.Attached.Work(ctx, job)
	if err != nil {
		s.lose(job)
		return conclusion, err
	}
	s.guests.story.tell("job %d on %s ends: %s", job.ID, s.Name(), conclusion)
	return conclusion, nil
}

// Close implements lxd.Listener.
func (s *session) Close() error {
	s.guests.ended(s.Name())
	return s.Attached.Close()
}

// pass lets time pass with a job in hand.
func (s *session) pass(ctx context.Context, length time.Duration, job runnerapp.Job) error {
	err := clock.Pause(ctx, length)
	if err != nil {
		s.lose(job)
	}
	return err
}

// lose notes that a job's machine ended before the job.
func (s *session) lose(job runnerapp.Job) {
	s.guests.note(s.Name(), func(life *guestLife) { life.lost[job.ID] = time.Now() })
	s.guests.story.tell("the machine of %s ends with job %d in it", s.Name(), job.ID)
}

// delay is a time up to two seconds that a name decides.
func delay(name string) time.Duration {
	sum := fnv.New32a()
	sum.Write([]byte(name))
	return time.Duration(sum.Sum32()%2000) * time.Millisecond
}
