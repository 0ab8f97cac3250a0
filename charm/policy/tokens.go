package policy

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github-runner/charm/secret"
)

const (
	// TokenLife is how long a one-time token is good for: several times as long as
	// a runner waits for its job.
	TokenLife = 48 * time.Hour

	tokenBytes = 32
	hashDigits = 2 * sha256.Size
	// maxTokenFile bounds what is read of a token's file.
	maxTokenFile = 1 << 10
	// unfinished is how old a file must be before it passes for damaged: a younger
	// one may be just being written.
	unfinished = time.Hour
)

// ErrNoToken is the error of a token that was never issued, has been used, or has
// expired.
var ErrNoToken = errors.New("no such token, or not any more")

// Tokens are the unit's one-time tokens. Each is a file of its own with the
// token's SHA-256 in its name, so that any process of the unit can issue one and
// any other redeem it, without a word between them, and also after a power cut.
// The token itself is stored nowhere.
type Tokens struct {
	dir string
}

// tokenFile is what the file of a token holds.
type tokenFile struct {
	Runner  string    `json:"runner,omitempty"`
	Expires time.Time `json:"expires"`
}

// NewTokens returns the tokens that are kept in a folder of the unit's. It makes
// the folder when the first one is issued.
func NewTokens(dir string) Tokens {
	return Tokens{dir: dir}
}

// Issue makes a token: 64 hexadecimal digits. The runner is whom it is meant for,
// "" where that is not known; another may use it all the same, once.
func (t Tokens) Issue(runner string) (secret.Text, error) {
	var random [tokenBytes]byte
	rand.Read(random[:]) // never fails, by its contract
	token := hex.EncodeToString(random[:])
	if err := t.keep(fileName(token, runner), tokenFile{Runner: runner, Expires: time.Now().Add(TokenLife).UTC()}); err != nil {
		return secret.Text{}, fmt.Errorf("cannot issue a one-time token: %w", err)
	}
	return secret.New(token), nil
}

// Redeem uses a token up and returns the runner that it was issued for. Of several
// who try at once exactly one succeeds. With ErrNoToken nobody had it; with any
// other error it may still be there.
func (t Tokens) Redeem(token string) (runner string, err error) {
	names, err := t.list()
	if err != nil {
		return "", fmt.Errorf("cannot redeem a one-time token: %w", err)
	}
	for _, name := range names {
		if hash, _ := splitName(name); hash != hashOf(token) {
			continue
		}
		file, broken := t.read(name)
		// The removal decides who has it.
		if err := syscall.Unlink(filepath.Join(t.dir, name)); errors.Is(err, fs.ErrNotExist) {
			return "", ErrNoToken
		} else if err != nil {
			return "", fmt.Errorf("cannot redeem a one-time token: %w", err)
		}
		if err := syncFolder(t.dir); err != nil {
			return "", fmt.Errorf("cannot redeem a one-time token: %w", err)
		}
		if broken != nil || !time.Now().Before(file.Expires) {
			return "", ErrNoToken
		}
		return file.Runner, nil
	}
	return "", ErrNoToken
}

// Forget removes the tokens of a runner; nil when there are none.
func (t Tokens) Forget(runner string) error {
	return t.removeIf("forget the one-time tokens of "+runner, func(name string) bool {
		_, of := splitName(name)
		return runner != "" && of == runner
	})
}

// Sweep removes tokens that have expired and files of tokens that are damaged.
// What is not a token's file is left alone.
func (t Tokens) Sweep() error {
	now := time.Now()
	return t.removeIf("remove old one-time tokens", func(name string) bool {
		file, err := t.read(name)
		if err == nil {
			return !now.Before(file.Expires)
		}
		info, err := os.Lstat(filepath.Join(t.dir, name))
		return err == nil && now.Sub(info.ModTime()) > unfinished
	})
}

func (t Tokens) removeIf(what string, doomed func(name string) bool) error {
	names, err := t.list()
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	var failures []error
	for _, name := range names {
		if !doomed(name) {
			continue
		}
		if err := syscall.Unlink(filepath.Join(t.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, fmt.Errorf("cannot %s: %w", what, err))
		}
	}
	return errors.Join(failures...)
}

// keep writes a token's file, under a name that nobody looks for yet, and makes
// sure that it outlives a power cut.
func (t Tokens) keep(name string, content tokenFile) (err error) {
	if err := errors.Join(makeFolder(filepath.Dir(t.dir)), makeFolder(t.dir)); err != nil {
		return err
	}
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	path := filepath.Join(t.dir, name)
	if err := writeSynced(path, data); err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(path)))
	}
	return syncFolder(t.dir)
}

// list returns the names of the folder that are those of tokens.
func (t Tokens) list() ([]string, error) {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		if hash, _ := splitName(entry.Name()); hash != "" && entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

func (t Tokens) read(name string) (tokenFile, error) {
	var file tokenFile
	data, err := readBounded(filepath.Join(t.dir, name), maxTokenFile)
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	return file, err
}

// fileName holds the runner beside the hash, so that the tokens of a runner are
// found without a look into each.
func fileName(token, runner string) string {
	if runner == "" {
		return hashOf(token)
	}
	return hashOf(token) + "." + runner
}

// splitName returns "" as the hash of what is no token's file.
func splitName(name string) (hash, runner string) {
	hash, runner, _ = strings.Cut(name, ".")
	if len(hash) != hashDigits || strings.Trim(hash, "0123456789abcdef") != "" {
		return "", ""
	}
	return hash, runner
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
