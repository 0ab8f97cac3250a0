package unitdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github-runner/charm/secret"
)

// StateVersion is the format that this build writes. Every earlier one is
// read.
const StateVersion = 1

const (
	stateFile = "state.json"
	// maxFile bounds what is read back: many times what a unit writes.
	maxFile = 16 << 20
)

// State is what the unit remembers between two hooks. It holds no truth about
// runners.
type State struct {
	// Version is the format of the file; WriteState sets it.
	Version int `json:"version"`
	// Build is the version of the binary that wrote it.
	Build string `json:"build"`
	// Generation grows with each write of another Applied; WriteState counts.
	Generation uint64 `json:"generation"`
	// Applied is the last CharmState that was put into effect, as charm/state
	// encodes it. It has secrets in clear, the reason for the file's mode.
	Applied json.RawMessage `json:"applied,omitempty"`
	// FormerScopes are where runners of ours may still be registered.
	FormerScopes []FormerScope `json:"former-scopes,omitempty"`
	// Seen is when something odd was first seen, under a key of its finder.
	Seen map[string]time.Time `json:"seen,omitempty"`
	// Setbacks are the failures to create runners that were not overcome yet,
	// as charm/runner encodes them.
	Setbacks json.RawMessage `json:"setbacks,omitempty"`
	// FormerCharm is what a takeover from another charm must remember, as
	// charm/takeover encodes it, with a secret in clear.
	FormerCharm json.RawMessage `json:"former-charm,omitempty"`
	// Stopping is set once the unit is being removed: nothing is created then.
	Stopping bool `json:"stopping,omitempty"`
	// Storage is where Juju has attached the unit's storage, of the id StorageID,
	// as of the last hook; both are empty where none is attached.
	Storage   string `json:"storage,omitempty"`
	StorageID string `json:"storage-id,omitempty"`
	// Detaching is the id of the storage that Juju wants back: nothing is created
	// while the unit still has it.
	Detaching string `json:"detaching,omitempty"`
	// OnStorage is set while a runner's disk may be on Juju's storage, whatever
	// the configuration says by now.
	OnStorage bool `json:"on-storage,omitempty"`
	// ImageTrouble is why the agent could not make a runner image the last time.
	ImageTrouble ImageTrouble `json:"image-trouble,omitzero"`
}

// ImageTrouble is why no runner image could be made, since when; zero where nothing is
// wrong.
type ImageTrouble struct {
	Error string    `json:"error"`
	Since time.Time `json:"since"`
}

// Scope is a place of registration at GitHub, of the same shape as the
// domain's: the two convert into each other.
type Scope struct {
	API  string `json:"api"`
	Path string `json:"path"`
}

// FormerScope is a scope that the unit used before its current one.
type FormerScope struct {
	Scope Scope `json:"scope"`
	// Credential is the last one that was valid there: without it the
	// registrations could not be removed.
	Credential
	Since time.Time `json:"since"`
}

// Credential is a token, or a GitHub App: of the same shape as charm/state's,
// with the secrets in clear in JSON. Builds before there were Apps read and wrote
// the token alone.
type Credential struct {
	Token secret.Stored `json:"token"`
	App   App           `json:"app,omitzero"`
}

// App is an installation of a GitHub App.
type App struct {
	ClientID       string        `json:"client-id"`
	InstallationID int64         `json:"installation-id"`
	PrivateKey     secret.Stored `json:"private-key"`
}

// IsZero reports whether there is neither a token nor an App.
func (c Credential) IsZero() bool {
	return c.Token.IsZero() && c.App == App{}
}

// CorruptError is the warning that a file could not be understood. It has been
// moved to Kept, over an earlier one there, and counts as missing from now on.
type CorruptError struct {
	Path string
	Kept string
	Err  error
}

// Error says where the file has been kept.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s cannot be read and starts empty again, it was kept as %s: %v", e.Path, e.Kept, e.Err)
}

// Unwrap returns what is wrong with it.
func (e *CorruptError) Unwrap() error {
	return e.Err
}

// ErrNewer is the error of a state that a newer build wrote.
var ErrNewer = errors.New("written by a newer version of the charm")

// ReadState returns what the unit remembers, the zero State when it has
// nothing yet. With a *CorruptError the zero State is good to go on with; with
// any other error nothing may be written. A state of an unknown, later version
// is ErrNewer and stays untouched.
func (d *Dir) ReadState() (State, error) {
	data, err := readFile(d.Path(stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil && !errors.Is(err, errNoFile) {
		return State{}, fmt.Errorf("cannot read the unit's state: %w", err)
	}
	var state State
	if err == nil {
		state, err = decodeState(data)
	}
	if errors.Is(err, ErrNewer) {
		return State{}, fmt.Errorf("cannot use %s: %w; refresh the charm, or move the file away", d.Path(stateFile), err)
	}
	if err != nil {
		return State{}, setAside(d.Path(stateFile), err)
	}
	return state, nil
}

// LookAtState is ReadState for those who do not hold the unit's lock: it moves
// nothing, and a state that is missing or corrupt is an error.
func (d *Dir) LookAtState() (State, error) {
	data, err := readFile(d.Path(stateFile))
	if err != nil {
		return State{}, fmt.Errorf("cannot read the unit's state: %w", err)
	}
	state, err := decodeState(data)
	if err != nil {
		return State{}, fmt.Errorf("cannot use %s: %w", d.Path(stateFile), err)
	}
	return state, nil
}

// Identity tells one content of a file from the next. It compares with ==.
type Identity struct {
	inode uint64
	size  int64
	time  time.Time
}

// StateIdentity is that of the state as it is now. It costs no reading.
func (d *Dir) StateIdentity() (Identity, error) {
	info, err := os.Lstat(d.Path(stateFile))
	if err != nil {
		return Identity{}, fmt.Errorf("cannot look at the unit's state: %w", err)
	}
	stat, _ := info.Sys().(*syscall.Stat_t)
	return Identity{inode: stat.Ino, size: info.Size(), time: info.ModTime()}, nil
}

// WriteState replaces what the unit remembers. It either takes full effect or,
// with an error, leaves the former state as it was; a full disk is such an
// error. The generation is counted here: the larger of the given and the
// stored one, plus one where Applied is another.
func (d *Dir) WriteState(state State) error {
	former, err := d.ReadState()
	var corrupt *CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return fmt.Errorf("cannot write the unit's state: %w", err)
	}
	state.Version = StateVersion
	state.Generation = max(state.Generation, former.Generation)
	same, err := sameJSON(state.Applied, former.Applied)
	if err != nil {
		return fmt.Errorf("cannot write the unit's state: what was applied is no JSON: %w", err)
	}
	if !same {
		state.Generation++
	}
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot write the unit's state: %w", err)
	}
	if err := writeFile(d.Path(stateFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write the unit's state: %w", err)
	}
	return nil
}

// decodeState is strict about what it knows, and passes over fields that it
// does not: another build of the same format may have added them.
func decodeState(data []byte) (State, error) {
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return State{}, fmt.Errorf("no JSON object: %w", err)
	}
	switch {
	case head.Version == nil || *head.Version < 1:
		return State{}, errors.New("it has no version")
	case *head.Version > StateVersion:
		return State{}, fmt.Errorf("version %d: %w", *head.Version, ErrNewer)
	}
	var state State
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&state); err != nil {
		return State{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return State{}, errors.New("something follows the JSON object")
	}
	return state, nil
}

// sameJSON compares without regard to spaces.
func sameJSON(a, b json.RawMessage) (bool, error) {
	left, err := compact(a)
	if err != nil {
		return false, err
	}
	right, err := compact(b)
	if err != nil {
		return false, err
	}
	return bytes.Equal(left, right), nil
}

func compact(raw json.RawMessage) ([]byte, error) {
	var buffer bytes.Buffer
	if len(raw) == 0 {
		return nil, nil
	}
	if err := json.Compact(&buffer, raw); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// setAside keeps a corrupt file as .bad, over an earlier one: one is enough to
// find out what happened, and a disk does not fill with them.
func setAside(path string, why error) error {
	kept := path + ".bad"
	if err := os.RemoveAll(kept); err != nil {
		return fmt.Errorf("cannot keep the corrupt %s: %w", path, err)
	}
	if err := os.Rename(path, kept); err != nil {
		return fmt.Errorf("cannot keep the corrupt %s: %w", path, err)
	}
	return &CorruptError{Path: path, Kept: kept, Err: why}
}
