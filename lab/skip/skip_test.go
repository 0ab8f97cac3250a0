package skip_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github-runner/lab/skip"
)

// told is a test that notes how it ends, and ends then.
type told struct {
	testing.TB
	how string
}

func (t *told) Helper() {}

func (t *told) Fatalf(format string, args ...any) {
	t.how = "failed: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (t *told) Skipf(format string, args ...any) {
	t.how = "skipped: " + fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// play runs a test of its own and returns how it ended.
func play(test func(t testing.TB)) string {
	t := &told{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		test(t)
		t.how = "ran"
	}()
	<-ended
	return t.how
}

func TestSkips(t *testing.T) {
	const missing = "no-such-program is not on this machine; `make setup` installs what tests need on Debian"
	for _, test := range []struct {
		name     string
		test     func(t testing.TB)
		free     string
		required string
	}{
		{
			"a reason",
			func(t testing.TB) { skip.Because(t, "there is no %s", "moon") },
			"skipped: NOT TESTED: there is no moon",
			"failed: ACCEPTANCE_REAL=require, but this can't be tested here: there is no moon",
		},
		{
			"a missing program",
			func(t testing.TB) { skip.Without(t, "no-such-program") },
			"skipped: NOT TESTED: " + missing,
			"failed: ACCEPTANCE_REAL=require, but this can't be tested here: " + missing,
		},
		{
			"a program that is there",
			func(t testing.TB) { skip.Without(t, "sh") },
			"ran",
			"ran",
		},
	} {
		for value, want := range map[string]string{"": test.free, "auto": test.free, "require": test.required} {
			t.Setenv("ACCEPTANCE_REAL", value)
			if how := play(test.test); how != want {
				t.Errorf("%s with ACCEPTANCE_REAL=%q: it %s, want: %s", test.name, value, how, want)
			}
		}
	}
}

// skipping is how Go's tests and testscript's sessions can be left out.
var skipping = regexp.MustCompile(`\.Skip(f|Now)?\(|(?m)^(\[.*\] *)?skip\b`)

// A test that is left out in another way is left out without a word in CI.
func TestNothingElseSkips(t *testing.T) {
	root := filepath.Join("..", "..")
	looked := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") || path == filepath.Join(root, "lab", "skip") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".txtar") {
			return nil
		}
		looked++
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at := skipping.FindIndex(content); at != nil {
			t.Errorf("%s:%d skips without the package skip", path, 1+bytes.Count(content[:at[0]], []byte("\n")))
		}
		return nil
	})
	if err != nil || looked == 0 {
		t.Errorf("looked at %d files: %v", looked, err)
	}
}
