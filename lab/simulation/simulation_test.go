package simulation

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

var (
	seeds   = flag.Uint64("seeds", 0, "how many lives a test of seeds lives through; 0: as many as usual")
	first   = flag.Uint64("first", 1, "the seed of the first")
	repeat  = flag.Int("repeat", 1, "how often each is lived through")
	verbose = flag.Bool("story", false, "print the stories, also of lives in which all was well")
)

// insideEnv tells the test binary that it has mounts of its own.
const insideEnv = "SIMULATION_INSIDE"

// TestMain runs the tests with mounts of their own, where the system lets them:
// what a life mounts is gone with it, and nobody else sees it.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) == "" {
		if code, ok := inside(); ok {
			os.Exit(code)
		}
	}
	debug.SetGCPercent(800) // lives are short and leave much behind
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		fmt.Fprintln(os.Stderr, "the lives' mounts are seen by others:", err)
	}
	os.Exit(m.Run())
}

func inside() (code int, ok bool) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, false
	}
	if err := cmd.Wait(); err != nil {
		return 1, true
	}
	return 0, true
}

// longest is how long a life may take of the time of clocks: the longest takes seconds,
// and one with a goroutine that holds a mutex while it waits would take for ever.
const longest = 10 * time.Minute

// live lives through a plan and complains of what was wrong.
func live(t *testing.T, plan Plan) Report {
	t.Helper()
	dir := room(t)
	// Outside of the life, where time passes whatever happens in it.
	hangs := time.AfterFunc(longest, func() { panic(plan.Name + " hangs; again: " + plan.again()) })
	defer hangs.Stop()
	var report Report
	synctest.Test(t, func(t *testing.T) { report = Live(dir, plan) })
	if len(report.Violations) > 0 {
		// What a test says shows when all of them have ended.
		fmt.Printf("%s: %s\n", plan.Name, report.Violations[0])
		t.Errorf("%s\n%s\nschedule:\n%s\nstory:\n%s\n\nagain: %s", plan.Name, strings.Join(report.Violations, "\n"), plan, report.Story, plan.again())
	} else if *verbose {
		t.Logf("%s\n%s", plan, report.Story)
	}
	return report
}

// room is a folder for a life, in memory where there is one to be had.
func room(t *testing.T) string {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "life-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestQuietLife(t *testing.T) {
	for name, onOpenStack := range map[string]bool{"LXD": false, "OpenStack": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			live(t, Plan{Name: "quiet", OpenStack: onOpenStack, Neighbours: true, Calm: time.Hour, Config: map[string]any{
				"path": "acme/widgets", "token": "ghp_SECRET1", "virtual-machines": int64(3),
			}})
		})
	}
}

func TestSeeds(t *testing.T) { liveThrough(t, Seeded, usualSeeds) }

func TestSeedsOnOpenStack(t *testing.T) { liveThrough(t, SeededOnOpenStack, usualSeeds/4) }

// liveThrough lives through the seeds that the flags name, else through as many as usual.
func liveThrough(t *testing.T, seeded func(uint64) Plan, usual uint64) {
	count := *seeds
	if count == 0 {
		count = usual
	}
	var mu sync.Mutex
	var sum Report
	done := 0
	began := time.Now()
	t.Cleanup(func() {
		took := time.Since(began)
		fmt.Printf("%d lives of %v in all: %d hooks and actions, %d jobs, %d faults, %d kills and %d of the agent, %d refills; %.1f lives a second\n",
			count, sum.Simulated.Round(time.Hour), sum.Hooks, sum.Jobs, sum.Faults, sum.Kills, sum.AgentKills, sum.Refills, float64(count)/took.Seconds())
	})
	for seed := *first; seed < *first+count; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			var report Report
			for range *repeat {
				report = live(t, seeded(seed))
			}
			mu.Lock()
			defer mu.Unlock()
			sum.Hooks += report.Hooks
			sum.Jobs += report.Jobs
			sum.Faults += report.Faults
			sum.Kills += report.Kills
			sum.AgentKills += report.AgentKills
			sum.Refills += report.Refills
			sum.Simulated += report.Simulated
			if done++; done%500 == 0 {
				fmt.Println(done, "lives")
			}
		})
	}
}
