// Package skip is how tests are left out that can't run on a machine: nowhere else
// is a test skipped. Where every test has to run, as in CI, they fail instead.
package skip

import (
	"os"
	"os/exec"
	"testing"
)

// requireEnv has the value "require" where every test has to run.
const requireEnv = "ACCEPTANCE_REAL"

// Required reports whether every test has to run.
func Required() bool { return os.Getenv(requireEnv) == "require" }

// Because ends a test that can't run here for a reason, which is formatted as by
// [fmt.Sprintf]. Where every test has to run, the test has failed.
func Because(t testing.TB, reason string, args ...any) {
	t.Helper()
	if Required() {
		t.Fatalf("%s=require, but this can't be tested here: "+reason, append([]any{requireEnv}, args...)...)
	}
	t.Skipf("NOT TESTED: "+reason, args...)
}

// Without ends, as Because does, a test that needs a program which this machine
// does not have.
func Without(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		Because(t, "%s is not on this machine; `make setup` installs what tests need on Debian", program)
	}
}
