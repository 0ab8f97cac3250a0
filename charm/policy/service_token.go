package policy

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github-runner/charm/secret"
)

// serviceToken returns the token of those who issue tokens and set the policy. It
// is made once and kept in a file for root alone. A damaged one is made anew.
func serviceToken(path string) (secret.Text, error) {
	data, err := readBounded(path, maxTokenFile)
	if text := strings.TrimSpace(string(data)); err == nil && len(text) == 2*tokenBytes {
		return secret.New(text), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return secret.Text{}, fmt.Errorf("cannot read the service token: %w", err)
	}
	var random [tokenBytes]byte
	rand.Read(random[:]) // never fails, by its contract
	text := hex.EncodeToString(random[:])
	if err := writeNew(path, []byte(text+"\n")); err != nil {
		return secret.Text{}, fmt.Errorf("cannot keep the service token: %w", err)
	}
	return secret.New(text), nil
}
