package github

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
)

// service is how a person knows whose errors these are.
const service = "GitHub"

const (
	// secondaryPause is how long to leave GitHub alone after a secondary rate
	// limit that does not say: its documentation asks for at least a minute.
	secondaryPause = time.Minute
	// maxPause bounds what a server may ask for; GitHub's longest is an hour.
	maxPause = time.Hour
	// maxMessage bounds how much of a server's message goes into an error.
	maxMessage = 200
)

// refusal is what a call's refusals mean where they mean something of its own.
type refusal struct {
	// notFound, when set, says that a 404 is about the thing itself.
	notFound string
	// exists is what a 409 says.
	exists string
	// invalid is the advice for a 422.
	invalid string
	// busy tells that a 422 means a running job.
	busy bool
	// signed tells that it is authorised by a signature of our own.
	signed bool
	// advice in place of the general one for 404 and 403.
	notFoundAdvice  string
	forbiddenAdvice string
}

// badAnswerError is an answer that no GitHub gives.
type badAnswerError struct {
	what string
}

func (e badAnswerError) Error() string {
	return "the answer is not GitHub's: " + e.what
}

func badAnswer(format string, args ...any) error {
	return badAnswerError{fmt.Sprintf(format, args...)}
}

// isRefusal reports whether another token might fare better.
func isRefusal(err error) bool {
	return errors.Is(err, runner.ErrUnauthorized) || errors.Is(err, runner.ErrForbidden) || errors.Is(err, runner.ErrNotFound)
}

// explain turns what go-github returned into an error of package runner. The
// status is that of the answer, 0 when there was none.
func (c call) explain(err error, status int) error {
	if response, message := refused(err); response != nil {
		return c.explainStatus(response, c.scrub(message))
	}
	return c.explainFailure(err, status)
}

// refused returns the answer, and its message, that go-github's error holds.
func refused(err error) (*http.Response, string) {
	var secondary *gh.AbuseRateLimitError
	var primary *gh.RateLimitError
	var twoFactor *gh.TwoFactorAuthError
	var other *gh.ErrorResponse
	switch {
	case errors.As(err, &secondary):
		return secondary.Response, secondary.Message
	case errors.As(err, &primary):
		return primary.Response, primary.Message
	case errors.As(err, &twoFactor):
		return twoFactor.Response, twoFactor.Message
	case errors.As(err, &other):
		message := other.Message
		for _, detail := range other.Errors {
			message = strings.TrimSpace(message + " " + detail.Message)
		}
		return other.Response, message
	}
	return nil, ""
}

func (c call) explainStatus(response *http.Response, message string) error {
	said := func(kind error) error {
		return fmt.Errorf("%w: %s", kind, describe(response, message))
	}
	status := response.StatusCode
	if until := limitedUntil(response, message, time.Now()); !until.IsZero() {
		return fmt.Errorf("%w: %s", runner.RateLimited{By: service, Until: until}, describe(response, message))
	}
	switch {
	case status == http.StatusUnauthorized:
		advice := c.credential.refused()
		if c.refusal.signed {
			advice = signatureAdvice(response, time.Now())
		}
		return runner.Trouble{Advice: advice, Err: said(runner.ErrUnauthorized)}
	case status == http.StatusForbidden:
		return runner.Trouble{Advice: either(c.refusal.forbiddenAdvice, c.credential.weak(c.scope)), Err: said(runner.ErrForbidden)}
	case status == http.StatusNotFound && c.refusal.notFound != "":
		return fmt.Errorf("%w: %s", runner.ErrNotFound, c.refusal.notFound)
	case status == http.StatusNotFound:
		return runner.Trouble{Advice: either(c.refusal.notFoundAdvice, c.credential.blind(c.scope)), Err: said(runner.ErrNotFound)}
	case status == http.StatusConflict:
		return said(runner.ErrExists)
	case status == http.StatusUnprocessableEntity && c.refusal.busy:
		return said(runner.ErrBusy)
	case status == http.StatusUnprocessableEntity && c.refusal.invalid != "":
		return runner.Trouble{Advice: c.refusal.invalid, Err: said(runner.ErrInvalid)}
	case status >= 300 && status < 400:
		return runner.Trouble{Advice: fmt.Sprintf("check the option path (%s): it has moved", c.scope), Err: said(runner.ErrForbidden)}
	case status >= 500:
		return said(runner.ErrUnreachable)
	}
	return errors.New(describe(response, message))
}

// explainFailure is for calls without an answer, or with one that makes no
// sense.
func (c call) explainFailure(err error, status int) error {
	reason := c.scrub(withoutURL(err).Error())
	var certificate *tls.CertificateVerificationError
	var accepted *gh.AcceptedError
	switch {
	case errors.As(err, &accepted):
		return fmt.Errorf("%w: GitHub has not finished the call", runner.ErrUnreachable)
	case errors.As(err, &certificate):
		advice := fmt.Sprintf("check the option github-url, and the certificate of %s", c.scope.API)
		return runner.Trouble{Advice: advice, Err: fmt.Errorf("%w: %s", runner.ErrUnreachable, reason)}
	case status != 0:
		advice := fmt.Sprintf("check the option github-url if this lasts: %s does not answer like GitHub", c.scope.API)
		return runner.Trouble{Advice: advice, Err: fmt.Errorf("%w: %s", runner.ErrUnreachable, reason)}
	}
	return fmt.Errorf("%w: no answer from %s: %s", runner.ErrUnreachable, c.scope.API, reason)
}

// hidden turns "not found" for a whole scope into "forbidden": whether a runner
// exists in a scope that can't be seen is not known.
func hidden(err error) error {
	if !errors.Is(err, runner.ErrNotFound) {
		return err
	}
	trouble := runner.Trouble{Err: err}
	errors.As(err, &trouble)
	return runner.Trouble{Advice: trouble.Advice, Err: fmt.Errorf("%w: %s", runner.ErrForbidden, trouble.Err)}
}

// withoutURL strips the method and URL that net/http puts before an error.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// limitedUntil returns until when a rate limit holds, the zero time when the
// answer is none. GitHub sends 403 or 429: for the primary limit with no calls
// remaining, for the secondary one with a message and usually Retry-After.
func limitedUntil(response *http.Response, message string, now time.Time) time.Time {
	status := response.StatusCode
	if status != http.StatusForbidden && status != http.StatusTooManyRequests {
		return time.Time{}
	}
	latest := now.Add(maxPause)
	if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16); err == nil {
		return earlier(now.Add(time.Duration(max(seconds, 1))*time.Second), latest)
	}
	if response.Header.Get("X-RateLimit-Remaining") == "0" {
		reset, err := strconv.ParseInt(response.Header.Get("X-RateLimit-Reset"), 10, 64)
		if err == nil && time.Unix(reset, 0).After(now) {
			return earlier(time.Unix(reset, 0), latest)
		}
		return now.Add(secondaryPause)
	}
	if status == http.StatusTooManyRequests || strings.Contains(strings.ToLower(message), "rate limit") {
		return now.Add(secondaryPause)
	}
	return time.Time{}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// describe is GitHub's answer for a person, with the id that its support asks
// for.
func describe(response *http.Response, message string) string {
	text := fmt.Sprintf("GitHub answers %d", response.StatusCode)
	if message != "" {
		text += fmt.Sprintf(" %q", message)
	}
	if id := response.Header.Get("X-GitHub-Request-Id"); id != "" && len(id) < 100 {
		text += fmt.Sprintf(" (request %q)", id)
	}
	return text
}

// scrub bounds a text from outside and takes the token out of it, should a
// server or a proxy repeat it.
func (c call) scrub(text string) string {
	if token := c.token.Reveal(); token != "" {
		text = strings.ReplaceAll(text, token, c.token.String())
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if runes := []rune(text); len(runes) > maxMessage {
		text = string(runes[:maxMessage]) + "…"
	}
	return text
}

func either(first, second string) string {
	if first != "" {
		return first
	}
	return second
}
