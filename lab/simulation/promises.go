package simulation

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github-runner/charm/juju"
	"github-runner/charm/state"
	"github-runner/lab/github"
	"github-runner/lab/runnerapp"
)

// How long calls may take: what the design says, and the waits around it.
const (
	longestHook  = 11 * time.Minute
	longestFlush = 24 * time.Minute
	longestBuild = 100 * time.Minute
	// longestGoodbye is how long a process takes to end that is asked to.
	longestGoodbye = 5 * time.Second
)

// excuse is a reason for jobs to be killed: somebody asked for it.
type excuse struct {
	why      string
	from, to time.Time // to is zero while it lasts
	runner   string    // "": any
}

// license notes that a call may kill jobs, and returns what ends that.
func (l *life) license(c call) (end func()) {
	why := ""
	mode, _ := c.params["mode"].(string)
	switch {
	case strings.HasPrefix(mode, "flush-busy"), strings.HasPrefix(mode, "force-flush"):
		why = "busy flush"
	case c.name == "stop", c.name == "remove", c.name == "runner-storage-detaching" && l.stopped.Load():
		why = "removal"
	default:
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at := len(l.excuses)
	l.excuses = append(l.excuses, excuse{why: why, from: time.Now()})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		// What was asked of a cloud happens without the one who asked.
		takes := 5 * time.Second
		if l.plan.OpenStack {
			takes = longestHang + time.Minute
		}
		l.excuses[at].to = time.Now().Add(takes)
	}
}

// forgive excuses that a runner's job is killed now; "" is any runner.
func (l *life) forgive(runner, why string) { l.forgiveFor(time.Second, runner, why) }

// forgiveFor is forgive for a time.
func (l *life) forgiveFor(length time.Duration, runner, why string) {
	l.pardon(excuse{why: why, from: time.Now(), to: time.Now().Add(length), runner: runner})
}

// forgiveSince excuses that it was killed since a time.
func (l *life) forgiveSince(from time.Time, runner, why string) {
	l.pardon(excuse{why: why, from: from, to: time.Now().Add(time.Second), runner: runner})
}

func (l *life) pardon(e excuse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.excuses = append(l.excuses, e)
}

func (l *life) excused(runner string, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.excuses, func(e excuse) bool {
		return (e.runner == "" || e.runner == runner) && !at.Before(e.from) && (e.to.IsZero() || !at.After(e.to))
	})
}

// endedByHand reports whether the operator stopped or deleted a runner's machine.
func (l *life) endedByHand(runner string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.excuses, func(e excuse) bool { return e.runner == runner })
}

// checkCall checks what must hold after every call.
// undisturbed: nothing was wrong meanwhile.
func (l *life) checkCall(c call, o outcome, undisturbed bool) {
	longest := longestHook
	switch c.name {
	case "flush-runners", "stop":
		longest = longestFlush
	case "build-image", "update-dependencies":
		longest = longestBuild
	}
	if o.asked && !o.killed && o.ended > longestGoodbye {
		l.violate("%s ended %s after it was asked to", c, o.ended)
	}
	if o.took > longest {
		l.violate("%s took %s", c, o.took)
	}
	if o.killed {
		return
	}
	time.Sleep(time.Millisecond)
	synctest.Wait()
	if o.open() > 0 {
		l.violate("%s left %d connections open", c, o.open())
	}
	if o.err != nil && !o.asked && !mayFail(c) {
		l.violate("%s failed: %v", c, o.err)
	}
	// Where the unit forgot what it is, the next hook finds out.
	nothingDone := c.name == "runner-storage-attached" && l.forgot.Load()
	if c.kind == juju.KindHook {
		l.forgot.Store(false)
	}
	if o.err == nil && c.kind == juju.KindHook && !l.stopped.Load() && c.name != "install" && c.name != "runner-storage-detaching" && !nothingDone {
		l.checkStatus(c, undisturbed)
	}
}

// checkWait is told how long a call waited for the unit.
func (l *life) checkWait(c call, took time.Duration) {
	if took > longestGoodbye {
		l.violate("%s waited %s for the unit", c, took)
	}
}

// checkGoodbye is told of an agent that did not end in time.
func (l *life) checkGoodbye(took time.Duration) {
	l.violate("the agent ended %s after it was asked to", took)
}

// checkRush is told of a process that makes calls without end.
func (l *life) checkRush(calls int) {
	l.violate("a process made %d calls in a minute", calls)
}

// mayFail reports whether a hook is to be tried again where it could not do its
// work: nothing comes after it that would do it.
func mayFail(c call) bool {
	return slices.Contains([]string{"stop", "remove", "runner-storage-detaching"}, c.name)
}

var (
	claimed = regexp.MustCompile(`(\d+) (idle|busy)`)
	telling = regexp.MustCompile(`\d+ of \d+ runners|starting|unknown|finishing|deleting|` + moving)
)

// moving is what the status says of a unit whose runners move to another cloud.
const moving = "the runners move to"

// checkStatus compares the status with the truth.
func (l *life) checkStatus(c call, undisturbed bool) {
	status, message := l.unit.shown()
	if status == juju.Maintenance && !strings.HasPrefix(message, "starting runners") {
		l.violate("%s ends with the status of its progress: %s", c, message)
	}
	if status != juju.Active {
		return
	}
	if l.agentActs() {
		return
	}
	idle, busy := l.online()
	claims := 0
	for _, match := range claimed.FindAllStringSubmatch(message, -1) {
		n, _ := strconv.Atoi(match[1])
		claims += n
	}
	if claims > idle+busy && !l.endedLately() {
		l.violate("after %s the status says %q, but %d idle and %d busy runners are there", c, message, idle, busy)
	}
	if want := l.unit.wanted().Count; idle+busy < want && !telling.MatchString(message) && !l.endedLately() {
		l.violate("after %s the status is %q, but %d runners are wanted and %d are there", c, message, want, idle+busy)
	}
	if surplus := idle - max(0, l.unit.wanted().Count-busy); undisturbed && surplus > 0 {
		l.violate("after %s there are %d idle and %d busy runners, wanted are %d", c, idle, busy, l.unit.wanted().Count)
	}
}

// agentActs reports whether the agent, which goes on at the instant in which a hook ends,
// has changed what the hook left.
func (l *life) agentActs() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.acted) < 10*time.Millisecond
}

// checkMade checks that a runner that was just registered is not one too many.
// Registrations that are on their way out, and those of machines that are not
// there, do not count for that.
func (l *life) checkMade(effect string) {
	if !strings.HasSuffix(effect, "/generate-jitconfig") || !l.quietFor(10*time.Minute) {
		return
	}
	count := l.made()
	if want := l.unit.wanted().Count; count > want {
		l.violate("runner number %d is made, wanted are %d", count, want)
	}
}

// quietFor reports whether nothing was wrong for so long.
func (l *life) quietFor(length time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.faults.Load() == 0 && time.Since(l.troubled) >= length
}

// disturbed notes that something is, or was, wrong.
func (l *life) disturbed() {
	l.unrest.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.troubled = time.Now()
}

// endedLately reports whether a job ended, or came, or an operator ended a machine,
// within the last seconds.
func (l *life) endedLately() bool {
	lately := time.Now().Add(-10 * time.Second)
	if l.plan.OpenStack {
		lately = time.Now().Add(-40 * time.Second) // a server may have been looked into meanwhile
	}
	l.mu.Lock()
	rebooted := l.rebooted
	byHand := slices.ContainsFunc(l.excuses, func(e excuse) bool { return e.runner != "" && e.to.After(lately) })
	l.mu.Unlock()
	if byHand || time.Since(rebooted) < 2*time.Minute {
		return true // GitHub believes in its runners for a while
	}
	return slices.ContainsFunc(l.world.github.Jobs(), func(j github.JobInfo) bool {
		return j.Completed != nil && j.Completed.After(lately)
	})
}

// online counts the runners that can take or have a job.
func (l *life) online() (idle, busy int) {
	running := map[string]bool{}
	for _, one := range l.world.machines() {
		running[one.name] = one.on || one.reboots
	}
	for _, r := range l.world.github.Runners() {
		switch {
		case !owner.Owns(r.Name) || !r.Online && !r.Busy || !running[r.Name] || r.Removed:
		case r.Busy:
			busy++
		default:
			idle++
		}
	}
	return idle, busy
}

// unsettled lists what is not as it should be once all is calm.
func (l *life) unsettled() []string {
	var problems []string
	wanted := l.unit.wanted()
	idle, busy := l.online()
	if idle+busy != wanted.Count {
		problems = append(problems, fmt.Sprintf("%d runners are wanted, %d are online", wanted.Count, idle+busy))
	}
	has := l.world.possessions()
	folders, profiles := wanted.Count, 1
	if wanted.OnOpenStack() {
		folders = 0
	}
	if wanted.OnOpenStack() || wanted.Count == 0 || len(has.builders) > 0 {
		profiles = len(has.profiles) // they may stay, or be a builder's
	}
	for _, count := range []struct {
		what       string
		have, want int
	}{
		{"instances", len(has.instances), wanted.Count},
		{"registrations", len(has.registrations), wanted.Count},
		{"exchange folders", len(has.folders), folders},
		{"profiles", len(has.profiles), profiles},
	} {
		if count.have != count.want {
			problems = append(problems, fmt.Sprintf("there are %d %s, not %d", count.have, count.what, count.want))
		}
	}
	if len(has.builders) == 0 && len(has.unused) > 0 {
		problems = append(problems, fmt.Sprintf("there are images that nobody uses: %v", has.unused))
	}
	if status, message := l.unit.shown(); status != juju.Active {
		problems = append(problems, fmt.Sprintf("the status is %s: %s", status, message))
	}
	for _, file := range has.files {
		if !slices.Contains([]string{"state.json", "lock", "etags.json", "exchange", "memory", "guest-secret", "state.json.tmp", "state.json.bad", "etags.json.tmp", "etags.json.bad"}, file) {
			problems = append(problems, "the unit's folder has "+file)
		}
	}
	return problems
}

// wanted is the state in force: that of the configuration as it was read last, or
// the last good one.
func (u *unit) wanted() state.CharmState {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.inForce()
}

// inForce is wanted where the lock is held.
func (u *unit) inForce() state.CharmState {
	now, err := state.New(state.Source{
		Config: u.read, Secrets: map[string]state.Secret{tokenSecret: u.secret.read}, Proxies: state.Proxies(u.proxies), Machine: "amd64", ModelUUID: modelUUID, Unit: unitName,
	})
	if err == nil {
		u.lastGood = now
	}
	return u.lastGood
}

// judge checks what must hold of a whole life.
func (l *life) judge() {
	l.world.guests.each(func(name string, g guestLife) {
		if len(g.jobs) > 1 || g.online > 1 {
			l.violate("machine %s served twice: %d times online, jobs %v", name, g.online, g.jobs)
		}
		for job, at := range g.lost {
			if !l.excused(name, at) {
				l.violate("job %d on %s was killed, and nobody asked for it", job, name)
			}
		}
	})
	lost := map[int64]bool{}
	l.world.guests.each(func(_ string, g guestLife) {
		for job := range g.lost {
			lost[job] = true
		}
	})
	for _, job := range l.world.github.Jobs() {
		if job.Runner == "" || lost[job.ID] || !owner.Owns(job.Runner) {
			continue
		}
		if job.Status != github.Completed && !l.stopped.Load() {
			l.violate("job %d on %s is %s for ever", job.ID, job.Runner, job.Status)
		}
		if job.Conclusion == runnerapp.Failure && job.Completed != nil && !l.excused(job.Runner, job.Completed.Add(-grace)) {
			l.violate("job %d never reached runner %s, which had it", job.ID, job.Runner)
		}
	}
	l.checkSecrets()
}

// grace is how long GitHub waits for a runner that went away with a job.
const grace = 64 * time.Second

// secrets are what no output may have. A JIT configuration is known by its
// beginning.
var secrets = []string{"SECRET", "eyJ1cmwiOiJodHRw"}

func (l *life) checkSecrets() {
	said := l.story.heard()
	for _, secret := range secrets {
		if at := strings.Index(said, secret); at >= 0 {
			l.violate("a secret was said: …%s…", oneLine(said[max(0, at-100):min(len(said), at+20)]))
		}
	}
	err := filepath.WalkDir(l.world.root(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.Mode().Perm()&0o004 == 0 {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			if strings.Contains(string(content), secret) {
				l.violate("the world may read a secret in %s", path)
			}
		}
		return nil
	})
	if err != nil {
		l.violate("the simulation itself failed: %v", err)
	}
}
