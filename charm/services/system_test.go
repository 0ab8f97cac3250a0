package services

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github-runner/lab/skip"
)

// fakeSystemctl does with the one unit of a folder what systemd does: it starts
// what the unit says and ends it.
const fakeSystemctl = `#!/bin/sh
echo "$*" >>"$FAKE_SYSTEMD/calls"
unit=$FAKE_SYSTEMD/$(ls "$FAKE_SYSTEMD" | grep '\.service$')
end() {
    [ -f "$FAKE_SYSTEMD/pid" ] || return 0
    kill "$(cat "$FAKE_SYSTEMD/pid")" 2>/dev/null
    while kill -0 "$(cat "$FAKE_SYSTEMD/pid")" 2>/dev/null; do sleep 0.02; done
    rm "$FAKE_SYSTEMD/pid"
}
case $1 in
enable)
    cd "$(sed -n 's/^WorkingDirectory=//p' "$unit")" || exit 1
    eval "set -- $(sed -n 's/^Environment=//p' "$unit" | tr '\n' ' ') $(sed -n 's/^ExecStart=//p' "$unit")"
    setsid env "$@" </dev/null >/dev/null 2>&1 &
    echo $! >"$FAKE_SYSTEMD/pid"
    while ! [ -S .pebble.socket ]; do sleep 0.02; done
    ;;
stop) end; [ -e "$unit" ] || exit 5 ;;
disable) end ;;
esac
`

// newSystem is a stage whose daemon is kept running by a systemd.
func newSystem(t *testing.T) (s stage, folder string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	folder = t.TempDir()
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "systemctl"), []byte(fakeSystemctl), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("FAKE_SYSTEMD", folder)
	s = newStage(t, root, "github-runner-0-ab12")
	s.supervisor = system{unit: s.Unit, folder: folder}
	return s, folder
}

func TestSystemdKeepsTheDaemon(t *testing.T) {
	s, folder := newSystem(t)
	s.ensure(both)
	agent := s.await(Agent, 0)
	if agent.parent != s.daemon().pid {
		t.Errorf("the agent %+v is no child of the daemon %+v", agent, s.daemon())
	}
	s.ensure(both)
	install(t, filepath.Dir(s.program))
	s.ensure(both)
	if again := s.await(Agent, agent.pid); !again.current {
		t.Errorf("after a refresh %+v runs", again)
	}
	const name = "github-runner-github-runner-0-ab12.service"
	// A hook was killed as it wrote the systemd unit.
	must(t, os.WriteFile(filepath.Join(folder, name+".tmp"), nil, 0o644))
	must(t, s.Stop(t.Context()))
	must(t, s.Stop(t.Context()))

	calls, err := os.ReadFile(filepath.Join(folder, "calls"))
	must(t, err)
	want := []string{
		"stop " + name, "daemon-reload", "enable --now " + name, // the first Ensure
		"stop " + name, "daemon-reload", "enable --now " + name, // the refresh
		"disable --now " + name, "daemon-reload", "stop " + name, // the first Stop
		"stop " + name, // the second
	}
	if got := strings.TrimSpace(string(calls)); got != strings.Join(want, "\n") {
		t.Errorf("systemctl was called with\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	for _, left := range []string{name, name + ".tmp"} {
		if _, err := os.Lstat(filepath.Join(folder, left)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
}

func TestSystemdTakesTheUnit(t *testing.T) {
	skip.Without(t, "systemd-analyze")
	s := newStage(t, t.TempDir(), "github-runner-0-ab12")
	must(t, s.makeHome())
	unit := system{unit: s.Unit, folder: t.TempDir()}
	text, err := unit.text()
	must(t, err)
	must(t, os.WriteFile(unit.path(), text, 0o644))
	verify := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", unit.path())
	verify.WaitDelay = 10 * time.Second
	output, err := verify.CombinedOutput()
	// It also tells of units that other packages brought to the machine.
	if name := filepath.Base(unit.path()); err != nil || strings.Contains(string(output), name) {
		t.Errorf("systemd-analyze verify: %v\n%s\n%s", err, output, text)
	}
	for _, line := range []string{"KillMode=mixed", "Restart=always", "Type=notify", `Environment="PEBBLE=` + s.home() + `"`} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the unit has no line %q:\n%s", line, text)
		}
	}
}
