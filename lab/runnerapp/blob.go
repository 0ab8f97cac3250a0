// Package runnerapp stands in for GitHub's runner application: the protocol
// that it speaks with the lab's GitHub, a small program with the real one's
// interface, and the packing of that program as GitHub offers it.
package runnerapp

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

// Version is what the stand-in calls itself: a version that the real
// application has not reached.
const Version = "2.999.1"

// blobSize is the size of a JIT configuration's padding: the real ones have
// about 4 KB, which matters for what carries them.
const blobSize = 2900

// Blob is what the stand-in's JIT configurations hold. Only this package and
// the lab's GitHub look into one.
type Blob struct {
	// URL is the lab's GitHub as the runner reaches it.
	URL      string `json:"url"`
	RunnerID int64  `json:"runner_id"`
	// Key authorises the runner for its one session.
	Key     string `json:"key"`
	Padding []byte `json:"padding"`
}

// Encode returns the JIT configuration.
func (b Blob) Encode() (string, error) {
	b.Padding = make([]byte, blobSize*3/4)
	rand.Read(b.Padding) // never fails, by its contract
	data, err := json.Marshal(b)
	if err != nil {
		return "", fmt.Errorf("cannot make JIT configuration: %w", err)
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

// DecodeBlob reads a JIT configuration.
func DecodeBlob(jit string) (Blob, error) {
	var b Blob
	data, err := base64.StdEncoding.DecodeString(jit)
	if err != nil {
		return b, errors.New("it is not base64")
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return b, errors.New("it is not of this lab's GitHub")
	}
	address, err := url.Parse(b.URL)
	if err != nil || address.Host == "" || b.RunnerID <= 0 || b.Key == "" {
		return b, errors.New("it names no server, runner or key")
	}
	return b, nil
}
