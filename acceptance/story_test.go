package acceptance

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// What differs from one run to the next in a debug log.
var (
	logHead     = regexp.MustCompile(`^unit-\S+: [0-9:]{8} ([A-Z]+) unit\.\S+/[0-9]+\.juju-log `)
	runnerName  = regexp.MustCompile(`github-runner-[0-9]+-[0-9a-f]{12}`)
	seconds     = regexp.MustCompile(`[0-9]+\.[0-9]+ s\b`)
	clockTime   = regexp.MustCompile(`[0-9]{2}:[0-9]{2}:[0-9]{2} UTC`)
	hostAndPort = regexp.MustCompile(`(127\.0\.0\.1|198\.51\.100\.[0-9]+)(:[0-9]+)?`)
	requestID   = regexp.MustCompile(`request "[0-9A-F:]+"`)
	ending      = regexp.MustCompile(`([0-9]+) (dead|finishing)\b`)
	// How long OpenStack takes to delete a server is its own matter.
	deleting = regexp.MustCompile(`, [0-9]+ deleting\b`)
	// Other labs on this machine bring addresses and take them away.
	otherLabs  = regexp.MustCompile(`the network ACL is not what addresses`)
	cameOnline = regexp.MustCompile(`^INFO online: (.*) (event=\S+)$`)
)

// story compares the debug log in the last output with a file, without names and
// times. How many looks at GitHub it took to see runners online is a matter of
// time, too: their lines become one.
func story(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: story FILE")
	}
	var told []string
	online := 0
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if otherLabs.MatchString(line) {
			continue
		}
		line = logHead.ReplaceAllString(strings.TrimSuffix(line, "\n"), "$1 ")
		line = runnerName.ReplaceAllString(line, "RUNNER")
		line = seconds.ReplaceAllString(line, "T s")
		line = clockTime.ReplaceAllString(line, "TIME")
		line = hostAndPort.ReplaceAllString(line, "HOST")
		line = requestID.ReplaceAllString(line, "request ID")
		line = deleting.ReplaceAllString(line, "")
		line = ending.ReplaceAllString(line, "$1 ending")
		if match := cameOnline.FindStringSubmatch(line); match != nil {
			if online > 0 {
				told = told[:len(told)-1]
			}
			online += strings.Count(match[1], "RUNNER after T s")
			told = append(told, fmt.Sprintf("INFO online: %d %s", online, match[2]))
			continue
		}
		online = 0
		told = append(told, line)
	}
	want := strings.Split(strings.TrimSpace(ts.ReadFile(args[0])), "\n")
	if diff := cmp.Diff(want, told); diff != "" {
		ts.Fatalf("the story (-want +told):\n%s", diff)
	}
}
