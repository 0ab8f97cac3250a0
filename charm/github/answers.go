package github

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	answersFormat = "github-runner/answers/1"
	maxAnswers    = 256
	maxAnswerSize = 32 << 20 // of all together
	// downloadsPath ends the URL of the list of runner applications. GitHub
	// makes a new version every few weeks, so a list of this hour will do.
	downloadsPath      = "/actions/runners/downloads"
	downloadsFreshness = time.Hour
	// touchInterval is how old the note of an answer's last use may be.
	touchInterval = time.Hour
)

// Cache keeps bytes from one process to the next.
type Cache interface {
	// Load returns what was last saved, nil when there is nothing.
	Load() ([]byte, error)
	Save(data []byte) error
	// SetAside puts away what could not be understood, and returns what is to
	// be logged about it.
	SetAside(why error) error
}

// answer is one answer of GitHub's with its ETag. It is not changed once made.
type answer struct {
	ETag string `json:"etag"`
	Link string `json:"link,omitempty"`
	Body []byte `json:"body"`
	// Used is when GitHub last said that it is still right.
	Used time.Time `json:"used"`
	// Fresh is until when it is right without asking.
	Fresh time.Time `json:"fresh,omitzero"`

	key string
}

func newAnswer(key string, request *http.Request, response *http.Response, body []byte) *answer {
	etag := response.Header.Get("ETag")
	if etag == "" {
		return nil
	}
	made := &answer{
		ETag: etag,
		Link: response.Header.Get("Link"),
		Body: body,
		key:  answerKey(key, request),
	}
	return made.checked(time.Now())
}

// checked returns the answer with the note that it was right at that time.
func (a *answer) checked(now time.Time) *answer {
	next := *a
	next.Used = now
	if strings.HasSuffix(a.key, downloadsPath) {
		next.Fresh = now.Add(downloadsFreshness)
	}
	return &next
}

func (a *answer) stillFresh(now time.Time) bool {
	return now.Before(a.Fresh) && now.After(a.Used)
}

// response is the answer as if GitHub had just sent it.
func (a *answer) response(request *http.Request) *http.Response {
	header := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	if a.Link != "" {
		header.Set("Link", a.Link)
	}
	return &http.Response{
		Status:        "200 OK",
		StatusCode:    http.StatusOK,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(a.Body)),
		ContentLength: int64(len(a.Body)),
		Request:       request,
	}
}

func answerKey(key string, request *http.Request) string {
	return key + " " + request.URL.String()
}

// answers are all that are known, bounded in number and size.
type answers struct {
	cache Cache
	log   *logrus.Entry
	load  sync.Once

	mu     sync.Mutex
	known  map[string]*answer
	dirty  bool
	saving sync.Mutex
}

func newAnswers(cache Cache, log *logrus.Entry) *answers {
	return &answers{cache: cache, log: log, known: map[string]*answer{}}
}

type answersDocument struct {
	Format  string             `json:"format"`
	Answers map[string]*answer `json:"answers"`
}

func (a *answers) find(key string) *answer {
	a.load.Do(a.read)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[key]
}

// keep remembers an answer that proved good; nil is none.
func (a *answers) keep(fresh *answer) {
	if fresh == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.known[fresh.key]
	if before != nil && before.ETag == fresh.ETag && fresh.Used.Sub(before.Used) < touchInterval && before.Fresh.IsZero() {
		return
	}
	a.known[fresh.key] = fresh
	a.dirty = true
	a.shrink()
}

// shrink drops what was not used for longest until the rest is within bounds.
func (a *answers) shrink() {
	size := 0
	for _, one := range a.known {
		size += len(one.Body)
	}
	for len(a.known) > maxAnswers || size > maxAnswerSize {
		var oldest *answer
		for _, one := range a.known {
			if oldest == nil || one.Used.Before(oldest.Used) {
				oldest = one
			}
		}
		size -= len(oldest.Body)
		delete(a.known, oldest.key)
	}
}

func (a *answers) read() {
	if a.cache == nil {
		return
	}
	data, err := a.cache.Load()
	if err != nil {
		a.log.WithError(err).Warn("GitHub's earlier answers can't be used")
		return
	}
	if len(data) == 0 {
		return
	}
	known, err := decodeAnswers(data)
	if err != nil {
		a.log.WithError(a.cache.SetAside(err)).Warn("GitHub's earlier answers can't be used")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = known
	a.shrink()
}

func decodeAnswers(data []byte) (map[string]*answer, error) {
	var document answersDocument
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, err
	}
	if document.Format != answersFormat {
		return nil, fmt.Errorf("its format is %q, not %q", document.Format, answersFormat)
	}
	known := map[string]*answer{}
	for key, one := range document.Answers {
		if one == nil || one.ETag == "" || strings.ContainsAny(one.ETag, "\r\n") {
			return nil, fmt.Errorf("the answer for %q has no ETag", key)
		}
		one.key = key
		known[key] = one
	}
	return known, nil
}

// save writes what changed since the last time. That it can't is only logged:
// the next process asks GitHub again.
func (a *answers) save() {
	if a.cache == nil {
		return
	}
	a.saving.Lock()
	defer a.saving.Unlock()
	a.mu.Lock()
	if !a.dirty {
		a.mu.Unlock()
		return
	}
	a.dirty = false
	data, err := json.Marshal(answersDocument{Format: answersFormat, Answers: a.known})
	a.mu.Unlock()
	if err == nil {
		err = a.cache.Save(data)
	}
	if err != nil {
		a.log.WithError(err).Warn("cannot keep GitHub's answers for the next time")
	}
}
