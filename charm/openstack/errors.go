package openstack

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github-runner/charm/runner"
)

// maxSaid is how much of what OpenStack says becomes part of an error.
const maxSaid = 300

// cannot says what could not be done with OpenStack, and keeps what kind of failure
// it was. It returns nil for nil.
func cannot(err error, what string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot %s: %w", fmt.Sprintf(what, args...), classify(err))
}

// ignoreMissing turns "not found" into success: what is to be removed is gone.
func ignoreMissing(err error) error {
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// answered is the refusal behind an error, whatever gophercloud put around it.
func answered(err error) (answer gophercloud.ErrUnexpectedResponseCode, ok bool) {
	var again *gophercloud.ErrErrorAfterReauthentication
	var login *gophercloud.ErrUnableToReauthenticate
	switch {
	case errors.As(err, &again):
		return answered(again.ErrOriginal)
	case errors.As(err, &login):
		return answered(login.ErrReauth)
	}
	ok = errors.As(err, &answer)
	return answer, ok
}

// statusOf is the status of the refusal that an error is; 0: it is none.
func statusOf(err error) int {
	answer, _ := answered(err)
	return answer.Actual
}

// classify puts the manager's kind of error around OpenStack's own, and takes the
// latter's body apart.
func classify(err error) error {
	if err == nil || isClassified(err) || errors.Is(err, context.Canceled) {
		return err
	}
	if answer, ok := answered(err); ok {
		return refusal(answer)
	}
	var login *gophercloud.ErrUnableToReauthenticate
	var again *gophercloud.ErrErrorAfterReauthentication
	switch {
	case errors.As(err, &login):
		return classify(login.ErrReauth)
	case errors.As(err, &again):
		return classify(again.ErrOriginal)
	}
	return lost(err)
}

func isClassified(err error) bool {
	var trouble runner.Trouble
	var limited runner.RateLimited
	if errors.As(err, &trouble) || errors.As(err, &limited) {
		return true
	}
	for _, kind := range []error{runner.ErrQuota, runner.ErrUnreachable, runner.ErrUnauthorized, runner.ErrForbidden, runner.ErrNotFound, runner.ErrExists, runner.ErrInvalid, runner.ErrBusy} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// refusal is the error for what OpenStack answered.
func refusal(answer gophercloud.ErrUnexpectedResponseCode) error {
	words := said(answer)
	switch {
	case isQuota(answer.Actual, words):
		return runner.Trouble{Advice: "raise the quota of the OpenStack project, or make room in it", Err: fmt.Errorf("%w: %s", runner.ErrQuota, words)}
	case answer.Actual == http.StatusUnauthorized:
		return runner.Trouble{Advice: "set " + optionClouds + " with credentials that OpenStack takes", Err: fmt.Errorf("%w: %s", runner.ErrUnauthorized, words)}
	case answer.Actual == http.StatusForbidden:
		return runner.Trouble{Advice: "let the user in " + optionClouds + " do what runners need", Err: fmt.Errorf("%w: %s", runner.ErrForbidden, words)}
	case answer.Actual == http.StatusTooManyRequests, answer.Actual == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("OpenStack refuses: %w", runner.RateLimited{By: "OpenStack", Until: retryAt(answer.ResponseHeader, time.Now())})
	case answer.Actual == http.StatusNotFound:
		return fmt.Errorf("%w: %s", runner.ErrNotFound, words)
	case answer.Actual == http.StatusBadRequest:
		return fmt.Errorf("%w: %s", runner.ErrInvalid, words)
	case answer.Actual >= http.StatusInternalServerError:
		return fmt.Errorf("OpenStack is %w: it answers %d: %s", runner.ErrUnreachable, answer.Actual, words)
	}
	return fmt.Errorf("OpenStack refuses with %d: %s", answer.Actual, words)
}

// isQuota reports whether there is no room for more. Nova refuses with 403 then, and
// Neutron with 409.
func isQuota(status int, words string) bool {
	words = strings.ToLower(words)
	refused := status == http.StatusForbidden || status == http.StatusConflict || status == http.StatusRequestEntityTooLarge
	return refused && (strings.Contains(words, "quota exceeded") || strings.Contains(words, "maximum number of"))
}

// Bounds of the time after which a server that asks for it is asked again.
const (
	shortestRetry = time.Second
	longestRetry  = 10 * time.Minute
)

// retryAt is when to ask again, by the header of an answer.
func retryAt(header http.Header, now time.Time) time.Time {
	text := header.Get("Retry-After")
	wait := shortestRetry
	if seconds, err := strconv.Atoi(text); err == nil {
		wait = time.Duration(min(max(seconds, 0), int(longestRetry/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return now.Add(min(max(wait, shortestRetry), longestRetry))
}

// said is what a refusal says in words: the message in its body, short, without the
// value that was refused. The body of a load balancer's is a page of HTML.
func said(answer gophercloud.ErrUnexpectedResponseCode) string {
	var body any
	words := ""
	if json.Unmarshal(answer.Body, &body) == nil {
		words = message(body)
	}
	if words == "" {
		return http.StatusText(answer.Actual)
	}
	// Nova's schemas quote what they refuse, user-data with its credentials, too.
	if before, _, found := strings.Cut(words, " Value: "); found {
		words = before + " (the value is not shown)"
	}
	return oneLine(words)
}

// message is the first text that a refusal has under the key "message".
func message(body any) string {
	fields, ok := body.(map[string]any)
	if !ok {
		return ""
	}
	if text, ok := fields["message"].(string); ok {
		return text
	}
	for _, value := range fields {
		if text := message(value); text != "" {
			return text
		}
	}
	return ""
}

// oneLine is a text of somebody else's, short and without control characters.
func oneLine(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if runes := []rune(text); len(runes) > maxSaid {
		text = string(runes[:maxSaid]) + "…"
	}
	return text
}

// lost is the error for what was not answered, or by something that is no
// OpenStack.
func lost(err error) error {
	var certificate *tls.CertificateVerificationError
	var endpoint *gophercloud.ErrEndpointNotFound
	var service *gophercloud.ErrServiceNotFound
	switch {
	case errors.As(err, &certificate):
		return runner.Trouble{Advice: "give the certificate that signs OpenStack's as cacert in " + optionClouds, Err: certificate}
	case errors.As(err, &endpoint), errors.As(err, &service):
		return runner.Trouble{Advice: "correct region_name and interface in " + optionClouds, Err: fmt.Errorf("%w: OpenStack has no such service there", runner.ErrNotFound)}
	}
	var network *url.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("OpenStack is %w: %w", runner.ErrUnreachable, err)
	case errors.As(err, &syntax), errors.As(err, &kind):
		return fmt.Errorf("OpenStack is %w: what answers is no OpenStack: %w", runner.ErrUnreachable, err)
	}
	return err
}

// maybeDone reports whether what was asked for may have happened in spite of an
// error.
func maybeDone(err error) bool {
	status := statusOf(err)
	return status == 0 || status >= http.StatusInternalServerError
}
