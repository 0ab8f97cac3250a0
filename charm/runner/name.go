package runner

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Lengths that bound a runner's name.
const (
	// MaxNameLength is LXD's limit, the smallest among the clouds.
	MaxNameLength = 63

	tagDigits    = 4
	randomDigits = 8
)

// Owner is the unit that runners belong to.
type Owner struct {
	// ModelUUID and Unit ("github-runner/0") tell apart units of the same name
	// in two models.
	ModelUUID string
	Unit      string
}

// Prefix is what every name of the owner's runners starts with:
// "<app>-<unit>-<4 hex digits of the owner>".
func (o Owner) Prefix() string {
	sum := sha256.Sum256([]byte(o.ModelUUID + "\x00" + o.Unit))
	return o.shape() + hex.EncodeToString(sum[:])[:tagDigits]
}

// NewName returns a name that no runner had before.
func (o Owner) NewName() string {
	var random [randomDigits / 2]byte
	rand.Read(random[:]) // never fails, by its contract
	return o.Prefix() + hex.EncodeToString(random[:])
}

// Owns reports whether name is that of a runner of this owner.
func (o Owner) Owns(name string) bool {
	rest, ok := strings.CutPrefix(name, o.Prefix())
	return ok && isHex(rest, randomDigits)
}

// HasShape reports whether name looks like a runner of a unit of this name, be
// it of this model or of another.
func (o Owner) HasShape(name string) bool {
	rest, ok := strings.CutPrefix(name, o.shape())
	return ok && isHex(rest, tagDigits+randomDigits)
}

// Check returns an error when the names of the owner's runners would be too
// long for a cloud.
func (o Owner) Check() error {
	longest := MaxNameLength - tagDigits - randomDigits - len("-")
	if have := len(o.shape()) - len("-"); have > longest {
		return fmt.Errorf("cannot name runners after unit %q: its name has %d characters, at most %d fit; deploy the application under a shorter name", o.Unit, have, longest)
	}
	return nil
}

func (o Owner) shape() string {
	return strings.ReplaceAll(o.Unit, "/", "-") + "-"
}

func isHex(s string, digits int) bool {
	if len(s) != digits {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
