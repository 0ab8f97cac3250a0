package takeover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github-runner/charm/pattern"
	"github-runner/charm/secret"
)

// Memory is what a takeover must remember from one hook to the next. The unit's
// state file keeps it, as JSON.
type Memory struct {
	// Found is set once the unit was seen to have been the Python charm's. Where
	// it never was, nothing is touched.
	Found bool `json:"found,omitempty"`
	// Done is set once nothing of the Python charm's is left.
	Done bool `json:"done,omitempty"`
	// Path and Token are where its runners are registered and what it managed
	// them with. Empty where it left no word of them: they are the unit's own
	// then.
	Path  string        `json:"path,omitempty"`
	Token secret.Stored `json:"token,omitzero"`
	// Leaving is when a runner was first seen without a registration, by name.
	Leaving map[string]time.Time `json:"leaving,omitempty"`
}

// maxState bounds what is read of the Python charm's state: it held no more than
// its options.
const maxState = 1 << 20

// gitHubPath is what that charm could be told: "owner/repository", or an
// organisation. GitHub's names have at most 100 characters.
var gitHubPath = pattern.UpTo(201, `^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$`)

// Recall returns what was remembered, as JSON, together with what the Python
// charm says of itself in the charm's folder. Its words are heard only as long as
// the memory has none; what can't be read is an error, beside a memory that is
// good to go on with.
func Recall(remembered []byte, charmDir string) (Memory, error) {
	var memory Memory
	if len(remembered) > 0 {
		if err := json.Unmarshal(remembered, &memory); err != nil {
			return Memory{}, fmt.Errorf("cannot read what was remembered of the previous charm: %w", err)
		}
	}
	if memory.Done || memory.Path != "" || charmDir == "" {
		return memory, nil
	}
	for _, name := range secretFiles {
		memory.Found = memory.Found || exists(filepath.Join(charmDir, name))
	}
	path, token, err := readState(filepath.Join(charmDir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return memory, nil
	}
	if err != nil {
		return memory, fmt.Errorf("cannot read where the previous charm's runners are registered, and look for them where this unit's are: %w", err)
	}
	memory.Path, memory.Token = path, token
	return memory, nil
}

// readState reads the place and the token out of the Python charm's state. Its
// errors quote nothing of it.
func readState(name string) (path string, token secret.Stored, err error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", secret.Stored{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxState))
	if err != nil {
		return "", secret.Stored{}, err
	}
	var state struct {
		Config struct {
			Path struct {
				Owner string `json:"owner"`
				Repo  string `json:"repo"`
				Org   string `json:"org"`
			} `json:"path"`
			Token secret.Stored `json:"token"`
		} `json:"charm_config"`
	}
	if json.Unmarshal(content, &state) != nil {
		return "", secret.Stored{}, fmt.Errorf("%s is no JSON object of that charm's", name)
	}
	path = state.Config.Path.Org
	if path == "" {
		path = state.Config.Path.Owner + "/" + state.Config.Path.Repo
	}
	if !gitHubPath.Matches(path) {
		return "", secret.Stored{}, fmt.Errorf("%s names no repository or organisation", name)
	}
	return path, state.Config.Token, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
