package github

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/secret"
)

// maxBody bounds an answer; a page of a hundred runners with a hundred labels
// each has less than one MiB.
const maxBody = 8 << 20

// wire carries the one call of a go-github client: it adds the token, asks
// conditionally where an earlier answer is known, and bounds what comes back.
type wire struct {
	base    http.RoundTripper
	host    string
	token   secret.Text
	key     string
	answers *answers
	// told is told the headers of each answer.
	told func(http.Header)
	log  *logrus.Entry

	// fresh is the answer to be kept if it proves good; status is that of the
	// last answer.
	fresh  *answer
	status int
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+w.token.Reveal())
	known := w.known(request)
	if known != nil && known.stillFresh(time.Now()) {
		w.status = http.StatusOK
		return known.response(request), nil
	}
	if known != nil {
		request.Header.Set("If-None-Match", known.ETag)
	}
	started := time.Now()
	response, err := w.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body, err := readBounded(response.Body)
	if err != nil {
		return nil, err
	}
	w.status = response.StatusCode
	w.told(response.Header)
	w.log.WithFields(logrus.Fields{
		"method":    request.Method,
		"path":      request.URL.Path,
		"status":    response.StatusCode,
		"remaining": response.Header.Get("X-RateLimit-Remaining"),
		"request":   response.Header.Get("X-GitHub-Request-Id"),
		"took":      time.Since(started).Round(time.Millisecond),
	}).Debug("asked GitHub")

	if response.StatusCode == http.StatusNotModified && known != nil {
		w.fresh = known.checked(time.Now())
		return known.response(request), nil
	}
	if response.StatusCode == http.StatusOK && keeps(request) {
		w.fresh = newAnswer(w.key, request, response, body)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	return response, nil
}

func (w *wire) known(request *http.Request) *answer {
	if !keeps(request) {
		return nil
	}
	return w.answers.find(answerKey(w.key, request))
}

// redirect follows GitHub only within the server that the token is for, and
// only where the method stays: net/http turns a redirected DELETE into a GET.
func (w *wire) redirect(request *http.Request, via []*http.Request) error {
	first := via[0]
	same := request.URL.Host == w.host && request.URL.Scheme == first.URL.Scheme && request.Method == first.Method
	if !same || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// keeps reports whether the answer to a request is worth keeping: those are the
// lists that are asked for again and again.
func keeps(request *http.Request) bool {
	if request.Method != http.MethodGet {
		return false
	}
	for _, list := range []string{"/actions/runners", "/actions/runner-groups", "/actions/runs", downloadsPath} {
		if strings.HasSuffix(request.URL.Path, list) {
			return true
		}
	}
	return false
}

func readBounded(body io.ReadCloser) ([]byte, error) {
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("the answer broke off: %w", err)
	}
	if len(data) > maxBody {
		return nil, badAnswer("it is longer than %d MiB", maxBody>>20)
	}
	return data, nil
}
