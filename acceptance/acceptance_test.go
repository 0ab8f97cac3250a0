package acceptance

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github-runner/lab"
)

const (
	buildDeadline = 10 * time.Minute
	// commandDeadline is more than any command of a session may take.
	commandDeadline = 5 * time.Minute
	// labDeadline is for a lab that does not give up by itself.
	labDeadline = 16 * time.Minute

	// Labs at one time: the emulation costs little, real containers share a
	// disk.
	emulatedLabs = 4
	realLabs     = 2
	// Labs that share one real OpenStack wait for it more than they work.
	sharingLabs = 4
)

// pebbleModule pins what supervises the unit's services, pebblePackage is its
// program.
const (
	pebbleModule  = "../tools/pebble"
	pebblePackage = "github.com/canonical/pebble/cmd/pebble"
)

// binEnv names the folder of what is tested.
const binEnv = "ACCEPTANCE_BIN"

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if os.Getenv(binEnv) == "" {
		bin, err := os.MkdirTemp("", "acceptance-bin-")
		if err == nil {
			defer os.RemoveAll(bin)
			err = errors.Join(build(bin), os.Setenv(binEnv, bin))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := playTogether(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// playTogether lets as many sessions be played at one time as labs may be up, unless
// -parallel is given: they wait more than they compute, and go test plays no more than
// there are processors.
func playTogether() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given || runtime.GOMAXPROCS(0) >= emulatedLabs {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(emulatedLabs))
}

// noteSources looks at every source, so that the go command knows what this test
// depends on, and does not take the result of an earlier run for one of now. It
// sees what a test looks at, not what TestMain does before the first one.
func noteSources() error {
	return filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err != nil:
			return nil // gone meanwhile: nothing that is built
		case entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case entry.Type().IsRegular():
			_, err = os.Stat(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// build makes what is tested: the lab and the runner application that its GitHub
// offers, the charm's program, the charm.
func build(bin string) error {
	ctx, cancel := context.WithTimeout(context.Background(), buildDeadline)
	defer cancel()
	program := filepath.Join(bin, "github-runner")
	pebble := filepath.Join(bin, "pebble")
	steps := []struct {
		dir  string
		args []string
	}{
		{"..", []string{"go", "build", "-o", filepath.Join(bin, "lab"), "./cmd/lab"}},
		{"..", []string{"go", "build", "-trimpath", "-o", program, "./cmd/github-runner"}},
		{pebbleModule, []string{"go", "build", "-trimpath", "-o", pebble, pebblePackage}},
		{"..", []string{filepath.Join(bin, "lab"), "pack-application", "--output", bin}},
		{"..", []string{"go", "run", "./cmd/packcharm", "--binary", program, "--pebble", pebble, "--output", bin}},
	}
	for _, step := range steps {
		cmd := exec.CommandContext(ctx, step.args[0], step.args[1:]...)
		cmd.Dir = step.dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build what is to be tested: %s: %w\n%s", strings.Join(step.args, " "), err, out)
		}
	}
	return nil
}

func TestEmulated(t *testing.T) {
	untagged := func(file string) bool { return !isTagged(t, file, openstackOnlyTag) }
	run(t, stage{cloud: lab.CloudEmulated, labs: make(chan struct{}, emulatedLabs)}, sessions(t, untagged))
}

func TestOpenStack(t *testing.T) {
	tagged := func(file string) bool {
		return isTagged(t, file, openstackTag) || isTagged(t, file, openstackEmulatedTag) || isTagged(t, file, openstackOnlyTag)
	}
	run(t, stage{cloud: lab.CloudOpenStackEmulated, labs: make(chan struct{}, emulatedLabs)}, sessions(t, tagged))
}

func TestReal(t *testing.T) {
	tagged := func(file string) bool { return isTagged(t, file, realTag) }
	run(t, stage{cloud: lab.CloudLXD, labs: make(chan struct{}, realLabs)}, sessions(t, tagged))
}

// sessions are the files of those that run on a cloud.
func sessions(t *testing.T, runs func(file string) bool) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(file string) bool { return !runs(file) })
	if len(files) == 0 {
		t.Fatal("no sessions in testdata")
	}
	return files
}

// The tags that a session's first line can begin with.
const (
	// realTag: it also runs on a real LXD.
	realTag = "[real]"
	// openstackTag: it also runs on OpenStacks: on an emulated one whenever all tests run,
	// on a real one in its turn.
	openstackTag = "[openstack]"
	// openstackRealTag: and on a real one whenever all tests run.
	openstackRealTag = "[openstack-real]"
	// openstackEmulatedTag: it also runs on an emulated OpenStack, which it gives orders to,
	// or which alone answers a dozen units in time.
	openstackEmulatedTag = "[openstack-emulated]"
	// openstackOnlyTag: it is about an emulated OpenStack alone.
	openstackOnlyTag = "[openstack-only]"
	// hooksTag: hooks alone look after the runners, without the resident agent.
	hooksTag = "[hooks]"
)

// isTagged reports whether a session's first line begins with a tag, among others.
func isTagged(t testing.TB, path, tag string) bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	first, err := bufio.NewReader(file).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for _, word := range strings.Fields(strings.TrimPrefix(first, "#")) {
		if !strings.HasPrefix(word, "[") {
			break
		}
		if word == tag {
			return true
		}
	}
	return false
}

// binDir is the folder of what is tested.
func binDir(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs(os.Getenv(binEnv))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

func run(t *testing.T, on stage, files []string) {
	t.Helper()
	if err := noteSources(); err != nil {
		t.Fatal(err)
	}
	on.bin = binDir(t)
	on.charm = filepath.Join(on.bin, "github-runner_"+runtime.GOARCH+".charm")
	// A short path: the sockets of a lab must fit into 108 characters.
	root, err := os.MkdirTemp("", "acc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the working folders are kept in %s", root)
			return
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	all := commands()
	next, remove := nextCharm()
	all["next-charm"] = next
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Files:               files,
		WorkdirRoot:         root,
		Setup:               on.setup,
		Condition:           on.condition,
		Cmds:                all,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}
