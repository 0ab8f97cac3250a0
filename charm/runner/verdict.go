package runner

import (
	"slices"
	"time"
)

// Verdict is what an instance, or a registration without one, is judged to be.
type Verdict string

// The verdicts. The first four count towards the wanted number.
const (
	// Starting: it has not come online yet and still may.
	Starting Verdict = "starting"
	// Idle: online and free.
	Idle Verdict = "idle"
	// Busy: it runs a job. Only a busy flush touches it.
	Busy Verdict = "busy"
	// Unknown: GitHub can't be asked about it. Nothing touches it.
	Unknown Verdict = "unknown"

	// Finishing: its registration is gone, it may still be at the end of a job.
	Finishing Verdict = "finishing"
	// Lost: it never came online, or went away, and nothing works in it.
	Lost Verdict = "lost"
	// Dead: its machine stopped or failed.
	Dead Verdict = "dead"
	// Deleting: its cloud is removing it.
	Deleting Verdict = "deleting"
	// Traces: only files are left of it.
	Traces Verdict = "traces"
	// Orphan: a registration without an instance.
	Orphan Verdict = "orphan"
	// Foreign: somebody else's instance under a name of our shape.
	Foreign Verdict = "foreign"
)

// Counts reports whether a runner of this verdict counts towards the wanted
// number.
func (v Verdict) Counts() bool {
	return v == Starting || v == Idle || v == Busy || v == Unknown
}

// sighting is what GitHub says of an instance's registration.
type sighting string

const (
	sightOffline sighting = "offline"
	sightOnline  sighting = "online"
	sightBusy    sighting = "busy"
	// sightGone is confirmed: not listed, and 404 where that matters.
	sightGone sighting = "gone"
	// sightNone: its scope could not be listed.
	sightNone sighting = "not listed"
)

func sight(registration Registration) sighting {
	switch {
	case registration.Busy:
		return sightBusy
	case registration.Online:
		return sightOnline
	}
	return sightOffline
}

// facts are what the decision about one instance rests on.
type facts struct {
	status   Status
	seen     sighting
	working  Working
	booting  bool // before its boot deadline, or offline only since a moment ago
	agesHold bool // GitHub was away until just now, so no age counts
	ended    bool // it says that it has run to its end, and never took a job
}

// decision is one row of the decision table: the first row whose conditions all
// hold decides. An empty condition holds always.
type decision struct {
	statuses []Status
	seen     []sighting
	when     func(facts) bool
	verdict  Verdict
}

// decisions returns the decision table: what is known of an instance on the
// left, what it is judged to be on the right.
func decisions() []decision {
	alive := []Status{StatusCreating, StatusRunning}
	ended := []Status{StatusStopped, StatusError}
	works := func(f facts) bool { return f.working == WorkingYes }
	booting := func(f facts) bool { return f.booting }
	agesHold := func(f facts) bool { return f.agesHold }
	saidSo := func(f facts) bool { return f.ended }
	return []decision{
		{statuses: []Status{StatusDeleting}, verdict: Deleting},
		{statuses: []Status{StatusTraces}, verdict: Traces},
		// A machine that ended never serves again, whatever GitHub says of it.
		{statuses: ended, verdict: Dead},
		{statuses: alive, seen: []sighting{sightNone}, verdict: Unknown},
		{statuses: alive, seen: []sighting{sightGone}, verdict: Finishing},
		{statuses: alive, seen: []sighting{sightBusy}, verdict: Busy},
		// GitHub's busy flag lags behind the job by up to a minute.
		{statuses: alive, when: works, verdict: Busy},
		{statuses: alive, seen: []sighting{sightOnline}, verdict: Idle},
		// Its machine may stay up for a while, for whoever fetches what it left.
		{statuses: alive, seen: []sighting{sightOffline}, when: saidSo, verdict: Dead},
		{statuses: alive, seen: []sighting{sightOffline}, when: booting, verdict: Starting},
		{statuses: alive, seen: []sighting{sightOffline}, when: agesHold, verdict: Unknown},
		{statuses: alive, seen: []sighting{sightOffline}, verdict: Lost},
	}
}

func judge(f facts) Verdict {
	for _, row := range decisions() {
		if row.holds(f) {
			return row.verdict
		}
	}
	return Unknown
}

func (d decision) holds(f facts) bool {
	return (d.statuses == nil || slices.Contains(d.statuses, f.status)) &&
		(d.seen == nil || slices.Contains(d.seen, f.seen)) &&
		(d.when == nil || d.when(f))
}

// Info is one runner, judged.
type Info struct {
	Instance
	// Registration is what GitHub says of it; its ID is 0 when the registration
	// is gone or can't be asked for.
	Registration Registration
	// Gone: GitHub has said that there is no registration any more.
	Gone    bool
	Verdict Verdict
	// Outdated: made from other inputs than today's, or idle for too long.
	Outdated bool
	// Removable: it is finishing and nothing in it can be lost any more.
	Removable bool
	// Proven: it shows that runners can start, for it took a job or has been
	// online for a while.
	Proven bool
	// FailedStart: it ended, or its time to come online ended, without a job.
	FailedStart bool
	// InFlight: a step is being done to it, so that nothing else is.
	InFlight bool
	// Since is when it was first seen as it is, where that matters (finishing,
	// deleting, orphan); zero elsewhere.
	Since time.Time
}
