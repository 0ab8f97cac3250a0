package github

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/secret"
)

const appTokensFormat = "github-runner/app-tokens/1"

// appToken is a token of an App's installation.
type appToken struct {
	Token   secret.Stored `json:"token"`
	Made    time.Time     `json:"made"`
	Expires time.Time     `json:"expires"`
}

// lasts reports whether it is good for a while. One from the future is not: the
// clock was set, and its end says nothing.
func (t appToken) lasts(now time.Time) bool {
	return !t.Token.IsZero() && !now.Before(t.Made) && now.Before(t.Expires.Add(-renewBefore))
}

// tokenKey identifies what an App's token was got with: one got with another
// private key would hide that this one is wrong.
func (c Credential) tokenKey(api string) string {
	return digest(c.key(api), c.App.PrivateKey.Reveal())
}

// appTokens are the tokens of Apps that still last, kept from one process to the
// next: hooks come often, and each would spend a call.
type appTokens struct {
	cache Cache
	log   *logrus.Entry
	load  sync.Once

	mu     sync.Mutex
	known  map[string]appToken
	dirty  bool
	saving sync.Mutex
}

type appTokensDocument struct {
	Format string              `json:"format"`
	Tokens map[string]appToken `json:"tokens"`
}

func newAppTokens(cache Cache, log *logrus.Entry) *appTokens {
	return &appTokens{cache: cache, log: log, known: map[string]appToken{}}
}

// find returns the token of a key that lasts. One that GitHub refused is returned
// again only where it is so new that another one would fare no better.
func (t *appTokens) find(key string, refused secret.Text) (secret.Text, bool) {
	t.load.Do(t.read)
	t.mu.Lock()
	defer t.mu.Unlock()
	known, now := t.known[key], time.Now()
	if !known.lasts(now) {
		return secret.Text{}, false
	}
	return known.Token.Text, !known.Token.Equal(refused) || now.Sub(known.Made) < renewAgain
}

// keep remembers a token.
func (t *appTokens) keep(key string, made appToken) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[key] = made
	now := time.Now()
	for key, one := range t.known {
		if !one.lasts(now) {
			delete(t.known, key)
		}
	}
	t.dirty = true
}

// save writes what is new since the last time. That it can't is only logged: the
// next process gets another token.
func (t *appTokens) save() {
	if t.cache == nil {
		return
	}
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	if !t.dirty {
		t.mu.Unlock()
		return
	}
	t.dirty = false
	data, err := json.Marshal(appTokensDocument{Format: appTokensFormat, Tokens: t.known})
	t.mu.Unlock()
	if err == nil {
		err = t.cache.Save(data)
	}
	if err != nil {
		t.log.WithError(err).Warn("cannot keep the GitHub App's token for the next time")
	}
}

func (t *appTokens) read() {
	if t.cache == nil {
		return
	}
	data, err := t.cache.Load()
	if err == nil && len(data) > 0 {
		var known map[string]appToken
		if known, err = decodeAppTokens(data); err != nil {
			err = t.cache.SetAside(err)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for key, one := range known {
			t.known[key] = one
		}
	}
	if err != nil {
		t.log.WithError(err).Warn("the GitHub App's earlier token can't be used")
	}
}

// decodeAppTokens reads what keep wrote. Its errors quote nothing of it.
func decodeAppTokens(data []byte) (map[string]appToken, error) {
	var document appTokensDocument
	if json.Unmarshal(data, &document) != nil {
		return nil, fmt.Errorf("it is no JSON object of this kind")
	}
	if document.Format != appTokensFormat {
		return nil, fmt.Errorf("its format is not %s", appTokensFormat)
	}
	for _, one := range document.Tokens {
		if !isToken(one.Token.Reveal()) {
			return nil, fmt.Errorf("it holds what is no token")
		}
	}
	return document.Tokens, nil
}
