package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const owner = "github-runner-0-0123456789ab"

func newTokens(t *testing.T) Tokens {
	t.Helper()
	return NewTokens(filepath.Join(t.TempDir(), "policy", "tokens"))
}

func issue(t *testing.T, tokens Tokens, runner string) string {
	t.Helper()
	token, err := tokens.Issue(runner)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func TestTokenIsGoodOnce(t *testing.T) {
	tokens := newTokens(t)
	if _, err := tokens.Redeem("0"); !errors.Is(err, ErrNoToken) {
		t.Errorf("before any was issued: %v", err)
	}
	token := issue(t, tokens, owner)
	if len(token) != 64 || strings.Trim(token, "0123456789abcdef") != "" {
		t.Errorf("the token %q is not 64 hexadecimal digits", token)
	}
	// Another process knows the folder, and nothing else.
	other := NewTokens(tokens.dir)
	if runner, err := other.Redeem(token); runner != owner || err != nil {
		t.Errorf("Redeem = %q, %v", runner, err)
	}
	if _, err := tokens.Redeem(token); !errors.Is(err, ErrNoToken) {
		t.Errorf("used twice: %v", err)
	}
	if runner, err := tokens.Redeem(issue(t, tokens, "")); runner != "" || err != nil {
		t.Errorf("Redeem of nobody's = %q, %v", runner, err)
	}
}

func TestTokensAreNotInTheirFolder(t *testing.T) {
	tokens := newTokens(t)
	token := issue(t, tokens, owner)
	entries, err := os.ReadDir(tokens.dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the folder has %v, %v", entries, err)
	}
	path := filepath.Join(tokens.dir, entries[0].Name())
	content, err := os.ReadFile(path)
	if err != nil || strings.Contains(path+string(content), token) {
		t.Errorf("the token is readable in %s: %q, %v", path, content, err)
	}
	for path, mode := range map[string]os.FileMode{path: 0o600, tokens.dir: 0o700, filepath.Dir(tokens.dir): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

func TestOnlyOneOfManyRedeems(t *testing.T) {
	tokens := newTokens(t)
	for range 20 {
		token := issue(t, tokens, owner)
		var won, lost sync.Map
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				if _, err := tokens.Redeem(token); err == nil {
					won.Store(i, true)
				} else if !errors.Is(err, ErrNoToken) {
					lost.Store(i, err)
				}
			})
		}
		all.Wait()
		count := 0
		won.Range(func(any, any) bool { count++; return true })
		lost.Range(func(_, err any) bool { t.Error(err); return true })
		if count != 1 {
			t.Fatalf("%d of them redeemed one token", count)
		}
	}
}

func TestTokensExpire(t *testing.T) {
	tokens := newTokens(t)
	synctest.Test(t, func(t *testing.T) {
		early, late := issue(t, tokens, owner), issue(t, tokens, owner)
		time.Sleep(TokenLife - time.Second)
		if err := tokens.Sweep(); err != nil {
			t.Fatal(err)
		}
		if _, err := tokens.Redeem(early); err != nil {
			t.Errorf("a second before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := tokens.Redeem(late); !errors.Is(err, ErrNoToken) {
			t.Errorf("at its end: %v", err)
		}
		issue(t, tokens, owner)
		time.Sleep(TokenLife)
		if err := tokens.Sweep(); err != nil {
			t.Fatal(err)
		}
	})
	if entries, err := os.ReadDir(tokens.dir); len(entries) > 0 || err != nil {
		t.Errorf("after a sweep there are %v, %v", entries, err)
	}
}

func TestTokensOfADeletedRunnerAreForgotten(t *testing.T) {
	tokens := newTokens(t)
	if err := tokens.Forget(owner); err != nil {
		t.Errorf("Forget without a folder: %v", err)
	}
	gone, kept, nobodys := issue(t, tokens, owner), issue(t, tokens, owner+"0"), issue(t, tokens, "")
	if err := tokens.Forget(owner); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Forget(""); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Redeem(gone); !errors.Is(err, ErrNoToken) {
		t.Errorf("the token of a deleted runner: %v", err)
	}
	for _, token := range []string{kept, nobodys} {
		if _, err := tokens.Redeem(token); err != nil {
			t.Errorf("another token is gone, too: %v", err)
		}
	}
}

func TestForeignFilesHarmNothing(t *testing.T) {
	tokens := newTokens(t)
	good := issue(t, tokens, owner)
	token := strings.Repeat("ab", 32)
	damaged := filepath.Join(tokens.dir, hashOf(token))
	old := time.Now().Add(-2 * unfinished)
	foreign := filepath.Join(tokens.dir, "README")
	for _, path := range []string{damaged, foreign} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	young := filepath.Join(tokens.dir, hashOf("young"))
	if err := os.WriteFile(young, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tokens.dir, hashOf("folder")), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Redeem("folder"); !errors.Is(err, ErrNoToken) {
		t.Errorf("a folder passes for a token: %v", err)
	}
	if err := tokens.Sweep(); err != nil {
		t.Fatal(err)
	}
	for path, wanted := range map[string]bool{damaged: false, foreign: true, young: true} {
		if _, err := os.Lstat(path); (err == nil) != wanted {
			t.Errorf("after a sweep, %s: %v", path, err)
		}
	}
	if _, err := tokens.Redeem("young"); !errors.Is(err, ErrNoToken) {
		t.Errorf("a half-written file passes for a token: %v", err)
	}
	if _, err := tokens.Redeem(good); err != nil {
		t.Errorf("the token beside them: %v", err)
	}
}
