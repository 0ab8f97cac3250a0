package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github-runner/charm/unitdir"
)

// zeros is a stored secret that no unit has.
var zeros = strings.Repeat("00", secretSize) + "\n"

func load(t *testing.T, path string) Keys {
	t.Helper()
	keys, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func hostKey(t *testing.T, keys Keys, name string) (private, public string) {
	t.Helper()
	secret, public, err := keys.HostKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Reveal(), public
}

func TestKeysAreMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guest-secret")
	first := load(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("the secret has mode %v", info.Mode())
	}
	again, other := load(t, path), load(t, filepath.Join(t.TempDir(), "guest-secret"))
	if first.AuthorizedKey() != again.AuthorizedKey() || first.AuthorizedKey() == other.AuthorizedKey() {
		t.Errorf("a unit's key is %q, then %q, another's %q", first.AuthorizedKey(), again.AuthorizedKey(), other.AuthorizedKey())
	}
	_, mine := hostKey(t, first, "runner-1")
	for what, key := range map[string]Keys{"another unit's": other, "another name's": first} {
		name := map[bool]string{true: "runner-1", false: "runner-2"}[key == other]
		if _, public := hostKey(t, key, name); public == mine {
			t.Errorf("%s host key is the same", what)
		}
	}
}

// Machines outlive an upgrade of the charm: the same secret gives the same keys.
func TestKeysStayTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guest-secret")
	if err := os.WriteFile(path, []byte(zeros), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := load(t, path)
	_, host := hostKey(t, keys, "runner-1")
	got := keys.AuthorizedKey() + "\n" + host
	want := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII5Xz1HpAEOvoykCvo93duuknFfg3CWq5t3c3nL6LKCz\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIcK+ooBSxtSFeyfe/r6+Ot9FG3AlmnQ6o2jgm8iOihr"
	if got != want {
		t.Errorf("the keys are\n%s, want\n%s", got, want)
	}
}

func TestHostKeyIsOneKey(t *testing.T) {
	keys := load(t, filepath.Join(t.TempDir(), "guest-secret"))
	private, public := hostKey(t, keys, "runner-1")
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	if got := publicKey(signer.PublicKey()); got != public {
		t.Errorf("the private key's public one is %s, want %s", got, public)
	}
	if signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Errorf("it is a key of type %s", signer.PublicKey().Type())
	}
}

func TestCorruptSecretIsKeptAndReplaced(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "short": "00\n", "long": "00" + zeros, "no hex": strings.Repeat("zz", secretSize) + "\n", "cut off": strings.TrimSpace(zeros),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "guest-secret")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, err := LoadKeys(path)
			var corrupt *unitdir.CorruptError
			if !errors.As(err, &corrupt) || keys.AuthorizedKey() == "" {
				t.Fatalf("LoadKeys: key %q, error %v", keys.AuthorizedKey(), err)
			}
			if len(content) > secretSize && strings.Contains(err.Error(), strings.TrimSpace(content)) {
				t.Errorf("the error quotes it: %v", err)
			}
			if kept, err := os.ReadFile(path + ".bad"); err != nil || string(kept) != content {
				t.Errorf("%q was kept, %v", kept, err)
			}
			if again := load(t, path); again.AuthorizedKey() != keys.AuthorizedKey() {
				t.Error("the new keys were not written")
			}
		})
	}
}

func TestKeysThatCannotBeKeptAreNone(t *testing.T) {
	keys, err := LoadKeys(filepath.Join(t.TempDir(), "missing", "guest-secret"))
	if err == nil || keys != (Keys{}) {
		t.Errorf("LoadKeys in a folder that is not there: %v", err)
	}
	if keys.AuthorizedKey() != "" {
		t.Error("keys that were not loaded have a public key, which everybody could make")
	}
	if _, _, err := keys.HostKey("runner-1"); !errors.Is(err, errNoKeys) {
		t.Errorf("HostKey of keys that were not loaded: %v", err)
	}
}

func TestKeysDoNotPrintThemselves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "guest-secret")
	if err := os.WriteFile(path, []byte(strings.Repeat("41", secretSize)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	door := Door{Keys: load(t, path)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if printed := fmt.Sprintf(verb, door); strings.Contains(printed, "AAAA") || strings.Contains(printed, "414141") {
			t.Errorf("%s prints the secret: %s", verb, printed)
		}
	}
}
