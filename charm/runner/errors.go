package runner

import (
	"errors"
	"fmt"
	"time"
)

// The errors that decide what the manager and the charm do next. Clouds and the
// GitHub client wrap them around the words of whoever refused.
var (
	// ErrBusy: it runs a job, or is in use.
	ErrBusy = errors.New("busy")
	// ErrUnauthorized: the credentials are wrong or were revoked.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden: the credentials are right and not enough.
	ErrForbidden = errors.New("forbidden")
	// ErrNotFound: it does not exist, or may not be seen.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: what was asked for is not accepted, and won't be later.
	ErrInvalid = errors.New("not accepted")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrQuota: no room is left for one more.
	ErrQuota = errors.New("quota exceeded")
	// ErrFailedStart: a runner ended, or ran out of time, before it took a job.
	ErrFailedStart = errors.New("runners do not start")
	// ErrBackingOff: no runner is created for a while, after others failed.
	ErrBackingOff = errors.New("backing off")
	// ErrPending: it is being made, fetched or sent, and nobody has to do anything.
	ErrPending = errors.New("not there yet")
	// ErrUnreachable: no answer, or a failure of the other side's own.
	ErrUnreachable = errors.New("unreachable")
)

// RateLimited is the error of a call that By, a service's name as a person knows it,
// will not answer before Until.
type RateLimited struct {
	By    string
	Until time.Time
}

// Error says until when.
func (e RateLimited) Error() string {
	return fmt.Sprintf("rate limited until %s", e.Until.UTC().Format("15:04:05 MST"))
}

// Trouble is an error that a person must act on, with the option or thing that
// is to be changed. Charm statuses are made from it.
type Trouble struct {
	// What to do, as one short sentence: it ends up in the unit's status.
	Advice string
	Err    error
}

// Error is the advice, followed by the cause.
func (e Trouble) Error() string {
	if e.Err == nil {
		return e.Advice
	}
	return e.Advice + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e Trouble) Unwrap() error {
	return e.Err
}
