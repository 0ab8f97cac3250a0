package runner

import "time"

// Limits are the times and numbers that bound a manager.
type Limits struct {
	// Creates and Deletes are how many of each run at the same time.
	Creates, Deletes int
	// Poll is how often GitHub is asked while something is in flight.
	Poll time.Duration
	// Reconcile bounds a whole reconcile.
	Reconcile time.Duration
	// PreJob bounds a flush's wait for pre-job scripts.
	PreJob time.Duration
	// Drain bounds the wait for busy runners before what they run on goes.
	Drain time.Duration
	// Settle is how long a runner that was deregistered is watched before it
	// is removed: GitHub has been seen to deregister one that had just taken a
	// job, whose worker starts within a second or two.
	Settle time.Duration
	// Quiet is how long a runner whose registration went away by itself must
	// show no work before it is removed.
	Quiet time.Duration
	// OfflineGrace is how long a runner may be seen offline after its boot
	// deadline.
	OfflineGrace time.Duration
	// ListLag is how far a cloud's list may lag behind what was created and
	// deleted, and how long a registration may be online without an instance.
	ListLag time.Duration
	// Proven is how long a runner must stay online to show that runners start.
	Proven time.Duration
	// AfterAway is how long no age counts after GitHub did not answer.
	AfterAway time.Duration
	// Idle is how old an idle runner may become: images and one-time tokens
	// stay fresh.
	Idle time.Duration
	// StuckFinishing, StuckDeleting and StuckRegistration are after how long a
	// runner without a registration, a deletion, and a registration that GitHub
	// does not let go are warned about.
	StuckFinishing, StuckDeleting, StuckRegistration time.Duration
	// Turn is how long Tend begins steps, where each is followed by another.
	Turn time.Duration
	// Grace is how long a step may go on when somebody waits for the unit.
	Grace time.Duration
	// Retry is after how long what could not be done is tried again, by Tend.
	Retry time.Duration
	// Blind is after how long Tend looks again at a cloud that tells of nothing while
	// jobs run, and Lull while there are only runners that wait for one.
	Blind, Lull time.Duration
	// Page is how long there is at least between two looks for each hundred runners
	// but the first: GitHub lists so many at a time, and counts the calls.
	Page time.Duration
	// Doubt is how old a runner is that has not come online before a cloud is asked to
	// look into it, where its list does not tell, and after how long it is again.
	Doubt time.Duration
	// Undo bounds what is cleaned up after a cancelled step.
	Undo time.Duration
}

// pageOfRunners is how many registrations GitHub lists in one answer.
const pageOfRunners = 100

// poll is how long there is between two looks at so many runners while something is
// in flight.
func (l Limits) poll(runners int) time.Duration {
	return max(l.Poll, time.Duration(runners/pageOfRunners)*l.Page)
}

// DefaultLimits returns the limits that hold in production, for a machine with
// the given number of CPUs.
//
// Two CPUs create eight containers side by side: each waits now and then, and with
// fewer at a time nobody uses the processors meanwhile (docs/performance.md).
func DefaultLimits(cpus int) Limits {
	return Limits{
		Creates:           max(8, cpus),
		Deletes:           16,
		Poll:              time.Second,
		Reconcile:         10 * time.Minute,
		PreJob:            150 * time.Second,
		Drain:             5 * time.Minute,
		Settle:            5 * time.Second,
		Quiet:             90 * time.Second,
		OfflineGrace:      time.Minute,
		ListLag:           time.Minute,
		Proven:            time.Minute,
		AfterAway:         5 * time.Minute,
		Idle:              12 * time.Hour,
		StuckFinishing:    time.Hour,
		StuckDeleting:     10 * time.Minute,
		StuckRegistration: 20 * time.Minute,
		Turn:              5 * time.Minute,
		Grace:             time.Second / 2,
		Retry:             10 * time.Second,
		Blind:             5 * time.Second,
		Lull:              15 * time.Second,
		Page:              3 * time.Second / 2,
		Doubt:             time.Minute,
		Undo:              4 * time.Second,
	}
}
