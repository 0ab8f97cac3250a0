package cloudinit

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github-runner/lab/skip"
)

// hostile has everything that means something to some parser.
const hostile = "a'b\"c$(touch /tmp/x)&`id`%s%%\\n \t#;|é$HOME\nsecond line"

func TestShellQuotesForARealShell(t *testing.T) {
	for _, value := range []string{hostile, "", "'", "''", "-n", "~", "*"} {
		quoted, err := Shell(value)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("bash", "-c", "printf %s "+quoted).Output()
		if err != nil || string(out) != value {
			t.Errorf("shell made %q of %q (%v)", out, value, err)
		}
	}
	if _, err := Shell("a\x00b"); err == nil {
		t.Error("shell took a NUL character")
	}
}

func TestSystemdQuotes(t *testing.T) {
	for value, wanted := range map[string]string{
		"plain":              `"plain"`,
		`'"$&` + "`%" + "\n": `"'\"$&` + "`" + `%%\n"`,
		`back\slash` + "\t":  `"back\\slash\t"`,
	} {
		quoted, err := systemd(value)
		if err != nil || quoted != wanted {
			t.Errorf("systemd(%q) = %s, %v; wanted %s", value, quoted, err, wanted)
		}
	}
	if _, err := systemd("a\x00b"); err == nil {
		t.Error("systemd took a NUL character")
	}
}

// The program that reads unit files has the last word on their quoting.
func TestSystemdQuotesForARealSystemd(t *testing.T) {
	skip.Without(t, "systemd-analyze")
	quoted, err := systemd("V=" + hostile)
	if err != nil {
		t.Fatal(err)
	}
	unit := t.TempDir() + "/quote.service"
	if err := os.WriteFile(unit, []byte("[Service]\nExecStart=/bin/true\nEnvironment="+quoted+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	if strings.Contains(string(out), "quote.service:3") {
		t.Errorf("systemd refuses Environment=%s: %s", quoted, out)
	}
}

func TestEnvLineRefusesLines(t *testing.T) {
	oneLine, _, _ := strings.Cut(hostile, "\n")
	if line, err := envLine("A", oneLine); err != nil || line != "A="+oneLine {
		t.Errorf("envLine(%q) = %q, %v", oneLine, line, err)
	}
	for _, value := range []string{hostile, "secret\rb", "secret\x00b"} {
		if _, err := envLine("A", value); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("envLine(%q): %v", value, err)
		}
	}
}
