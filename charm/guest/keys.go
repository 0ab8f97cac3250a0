package guest

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github-runner/charm/secret"
	"github-runner/charm/unitdir"
)

// secretSize is how many bytes the secret has.
const secretSize = 32

// What is derived from the secret. No label is the beginning of another one.
const (
	clientLabel = "github-runner: the unit's key"
	hostLabel   = "github-runner: host key of "
)

// errNoKeys is the error of keys that were not loaded.
var errNoKeys = errors.New("the unit's SSH keys are not loaded")

// Keys are a unit's SSH keys: its own, and one for each runner's machine. All are
// derived from one secret, so that nothing is kept for a runner. The zero value has
// none.
type Keys struct {
	secret secret.Text
}

// LoadKeys returns the keys whose secret is the file at path, and makes it, readable
// to our user alone, where it is missing; call it with the unit's lock held. With a
// *unitdir.CorruptError the keys are new and good to go on with: the machines that
// are there have the former ones, and can no longer be read.
func LoadKeys(path string) (Keys, error) {
	file := unitdir.CacheAt(path)
	stored, err := file.Load()
	var corrupt *unitdir.CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return Keys{}, fmt.Errorf("cannot load the unit's SSH keys: %w", err)
	}
	if stored != nil {
		keys, bad := decode(string(stored))
		if bad == nil {
			return keys, nil
		}
		err = file.SetAside(bad)
		if !errors.As(err, &corrupt) {
			return Keys{}, fmt.Errorf("cannot load the unit's SSH keys: %w", err)
		}
	}
	keys, failure := makeKeys(file)
	if failure != nil {
		return Keys{}, failure
	}
	return keys, err
}

// decode reads the secret as makeKeys writes it. Its error does not quote it.
func decode(stored string) (Keys, error) {
	text, ended := strings.CutSuffix(stored, "\n")
	raw, err := hex.DecodeString(text)
	if err != nil || !ended || len(raw) != secretSize {
		return Keys{}, fmt.Errorf("it is not one line of %d hexadecimal digits", 2*secretSize)
	}
	return Keys{secret: secret.New(string(raw))}, nil
}

func makeKeys(file unitdir.Cache) (Keys, error) {
	raw := make([]byte, secretSize)
	rand.Read(raw) // never fails, by its contract
	if err := file.Save([]byte(hex.EncodeToString(raw) + "\n")); err != nil {
		return Keys{}, fmt.Errorf("cannot make the unit's SSH keys: %w", err)
	}
	return Keys{secret: secret.New(string(raw))}, nil
}

// AuthorizedKey is the unit's public key, as a line of authorized_keys without its
// end; "" for the zero Keys.
func (k Keys) AuthorizedKey() string {
	key, err := k.derive(clientLabel)
	if err != nil {
		return ""
	}
	return publicKey(key.PublicKey())
}

// HostKey is the host key of the machine with a name: the private one in OpenSSH's
// format, the public one as a line of authorized_keys without its end. It is the same
// key for a name each time, whose private text may differ.
func (k Keys) HostKey(name string) (private secret.Text, public string, err error) {
	key, err := k.derive(hostLabel + name)
	if err != nil {
		return secret.Text{}, "", fmt.Errorf("cannot make the host key of %s: %w", name, err)
	}
	block, err := ssh.MarshalPrivateKey(key.private, "")
	if err != nil {
		return secret.Text{}, "", fmt.Errorf("cannot make the host key of %s: %w", name, err)
	}
	return secret.New(string(pem.EncodeToMemory(block))), publicKey(key.PublicKey()), nil
}

// key is an ed25519 key.
type key struct {
	ssh.Signer
	private ed25519.PrivateKey
}

// derive makes the key with a label.
func (k Keys) derive(label string) (key, error) {
	if k.secret.IsZero() {
		return key{}, errNoKeys
	}
	seed, err := hkdf.Key(sha256.New, []byte(k.secret.Reveal()), nil, label, ed25519.SeedSize)
	if err != nil {
		return key{}, err
	}
	private := ed25519.NewKeyFromSeed(seed)
	signer, err := ssh.NewSignerFromSigner(private)
	return key{Signer: signer, private: private}, err
}

func publicKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}
