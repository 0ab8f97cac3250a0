package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// The log tells a run as a story: what was found and follows from it, what was
// done, who came online. A line speaks for all runners that had the same fate;
// what happened to each is a detail.

// maxNamed is how many runners a line of the log names.
const maxNamed = 50

// verdictOrder is the order in which runners are counted.
var verdictOrder = [...]Verdict{Idle, Busy, Starting, Unknown, Finishing, Lost, Dead, Deleting, Traces, Foreign}

// crew counts runners by verdict, for a person.
func (v View) crew() string {
	var parts []string
	for _, verdict := range verdictOrder {
		if n := v.Count(verdict); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, verdict))
		}
	}
	if n := len(v.Orphans); n > 0 {
		parts = append(parts, fmt.Sprintf("%d registered without a machine", n))
	}
	if len(parts) == 0 {
		return "none there"
	}
	return strings.Join(parts, ", ")
}

// announce tells what was found, and what is going to be done about it.
func (r *reconcile) announce(steps []Step) {
	if len(steps) == 0 {
		return
	}
	type kind struct {
		do     Do
		reason string
	}
	var order []kind
	counts := map[kind]int{}
	for _, step := range steps {
		k := kind{step.Do, step.Reason}
		if counts[k] == 0 {
			order = append(order, k)
		}
		counts[k]++
	}
	var parts []string
	for _, k := range order {
		doing, _ := k.do.words()
		parts = append(parts, fmt.Sprintf("%s %d%s", doing, counts[k], inBrackets(k.reason)))
	}
	r.cfg.Log.Infof("%d wanted: %s; %s", r.want.Count, r.view.crew(), strings.Join(parts, ", "))
}

func inBrackets(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// deed is one step that was carried out.
type deed struct {
	step Step
	name string
	took time.Duration
	err  error
}

// detail says what happened to one runner.
func (d deed) detail(log *logrus.Entry) {
	log = log.WithFields(logrus.Fields{"runner": d.name, "took": d.took.Round(time.Millisecond)})
	if d.step.Reason != "" {
		log = log.WithField("reason", d.step.Reason)
	}
	if d.step.Do != DoCreate {
		log = log.WithField("was", d.step.Runner.Verdict)
	}
	if d.err != nil {
		log.WithError(d.err).Debugf("could not %s", d.step.Do)
		return
	}
	_, done := d.step.Do.words()
	log.Debug(done)
}

// fate is what happened to a runner, without what sets it apart from others.
type fate struct {
	do     Do
	reason string
	busy   bool
	failed string
}

func (d deed) fate() fate {
	switch {
	case d.err == nil:
		return fate{do: d.step.Do, reason: d.step.Reason}
	case errors.Is(d.err, ErrBusy):
		f := fate{busy: true}
		if d.step.Do == DoDeregister {
			f.do = DoDeregister // there is no runner to be left alone
		}
		return f
	}
	// With its own name in it each error would be another.
	return fate{do: d.step.Do, failed: strings.ReplaceAll(d.err.Error(), d.name, "…")}
}

// report tells what was done in one round.
func (r *reconcile) report(deeds []deed) {
	var order []fate
	shared := map[fate][]deed{}
	for _, d := range deeds {
		f := d.fate()
		if shared[f] == nil {
			order = append(order, f)
		}
		shared[f] = append(shared[f], d)
	}
	for _, f := range order {
		r.reportFate(f, shared[f])
	}
}

func (r *reconcile) reportFate(f fate, deeds []deed) {
	var names []string
	var took time.Duration
	for _, d := range deeds {
		names = append(names, d.name)
		took = max(took, d.took)
	}
	who, all := crowd(names)
	_, done := f.do.words()
	switch {
	case f.busy && f.do == DoDeregister:
		r.cfg.Log.Infof("left the registration of %s: its machine is gone, GitHub still counts it busy%s", who, all)
	case f.busy:
		r.cfg.Log.Infof("left %s alone (busy)%s", who, all)
	case f.failed != "":
		r.cfg.Log.WithError(deeds[0].err).Warnf("cannot %s %s%s", f.do, who, all)
	default:
		r.cfg.Log.Infof("%s %s%s in %s%s", done, who, inBrackets(f.reason), inSeconds(took), all)
	}
}

// welcome tells of the runners that have come online since the memory before.
func (m *Manager) welcome(view View, before Memory) {
	var parts []string
	for _, runner := range view.Runners {
		_, known := before.when(signOnline, runner.Name)
		_, online := m.memory.when(signOnline, runner.Name)
		if known || !online {
			continue
		}
		after := view.Now.Sub(runner.Created)
		parts = append(parts, fmt.Sprintf("%s after %s", runner.Name, inSeconds(after)))
		if m.cfg.Journal != nil {
			m.cfg.Journal.Online(runner.Name, after)
		}
	}
	if len(parts) > 0 {
		m.cfg.Log.Info("online: " + list(parts))
	}
}

// summarise tells what a flush did to runners.
func (f *flush) summarise(took time.Duration) {
	type part struct {
		done  string
		names map[string]bool
	}
	for _, p := range []part{
		{"removed %s in " + inSeconds(took), f.tally.removed},
		{"let go of %s, which end by themselves", f.tally.released},
		{"left %s alone (busy)", f.tally.busy},
	} {
		if len(p.names) > 0 {
			who, all := crowd(sortedKeys(p.names))
			f.cfg.Log.Infof(p.done+"%s", who, all)
		}
	}
}

// crowd is what to call some runners in a sentence: one by its name, more by
// their number, with their names for its end.
func crowd(names []string) (who, all string) {
	if len(names) == 1 {
		return names[0], ""
	}
	return number(len(names)), ": " + list(slices.Sorted(slices.Values(names)))
}

// number is how many runners, in words of a sentence.
func number(count int) string {
	if count == 1 {
		return "1 runner"
	}
	return fmt.Sprintf("%d runners", count)
}

// list lists what is not too much for a line.
func list(parts []string) string {
	if more := len(parts) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(parts[:maxNamed], ", "), more)
	}
	return strings.Join(parts, ", ")
}

// inSeconds writes a duration for a person.
func inSeconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
