package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Queue is what GitHub tells of the jobs of a repository that wait for a runner.
type Queue struct {
	Jobs []QueuedJob
	// Unseen is how many workflow runs, in which more jobs may wait, were not
	// looked into: each costs a call.
	Unseen int
}

// QueuedJob is a job that no runner has taken yet.
type QueuedJob struct {
	Name     string
	Workflow string
	// RunID is the number of its workflow run.
	RunID int64
	// Labels are those that a runner must have to get it, as they were written.
	Labels []string
	// Since is when it was queued.
	Since time.Time
}

// String names the job for a person.
func (j QueuedJob) String() string {
	return fmt.Sprintf("%q of workflow %q in run %d", j.Name, j.Workflow, j.RunID)
}

// hostedPrefixes begin the labels of the runners that are GitHub's own.
var hostedPrefixes = [...]string{"ubuntu-", "windows-", "macos-"}

// hosted reports whether a job is for a runner of GitHub's own.
func (j QueuedJob) hosted() bool {
	if len(j.Labels) != 1 {
		return false
	}
	return slices.ContainsFunc(hostedPrefixes[:], func(prefix string) bool {
		return strings.HasPrefix(strings.ToLower(j.Labels[0]), prefix)
	})
}

// missing are the labels that a job wants and that are not among the offered ones.
// GitHub does not tell upper from lower case.
func (j QueuedJob) missing(offered []string) []string {
	return slices.DeleteFunc(slices.Clone(j.Labels), func(wanted string) bool {
		return slices.ContainsFunc(offered, func(label string) bool { return strings.EqualFold(label, wanted) })
	})
}

// destination says, in half a sentence, what runners a job waits for.
func (j QueuedJob) destination(offered []string) string {
	missing := j.missing(offered)
	switch {
	case len(missing) == 0:
		return "for a free runner such as this unit's"
	case j.hosted():
		return "for GitHub's own runners"
	}
	what := "the label "
	if len(missing) > 1 {
		what = "the labels "
	}
	return "for " + what + quoted(missing) + ", which no runner of this unit offers"
}

// Reasons says why jobs of the queue wait, to a person who asks at that time about
// runners that offer these labels.
func (q Queue) Reasons(offered []string, now time.Time) []string {
	type group struct {
		names  []string
		oldest time.Time
	}
	groups := map[string]group{}
	var order, lines []string
	for _, job := range q.Jobs {
		where := job.destination(offered)
		g, known := groups[where]
		if !known {
			order = append(order, where)
		}
		if !known || job.Since.Before(g.oldest) {
			g.oldest = job.Since
		}
		g.names = append(g.names, job.String())
		groups[where] = g
	}
	for _, where := range order {
		g := groups[where]
		waits := "1 job waits"
		if len(g.names) > 1 {
			waits = fmt.Sprintf("%d jobs wait", len(g.names))
		}
		lines = append(lines, fmt.Sprintf("%s %s, since %s: %s", waits, where, clock(now, g.oldest), list(g.names)))
	}
	if len(lines) == 0 && q.Unseen == 0 {
		lines = append(lines, "no job waits")
	}
	if q.Unseen > 0 {
		lines = append(lines, fmt.Sprintf("%d more workflow runs were not looked into, in which jobs may wait", q.Unseen))
	}
	return lines
}

func quoted(labels []string) string {
	words := make([]string, 0, len(labels))
	for _, label := range labels {
		words = append(words, fmt.Sprintf("%q", label))
	}
	return list(words)
}
