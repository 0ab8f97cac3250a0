package charm

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/services"
	"github-runner/charm/unit"
)

// explainRunners answers check-runners explain=true. What is wrong is in the answer
// and no failure of the action, for it was asked for.
func (s *session) explainRunners(ctx context.Context) error {
	if !s.inForce || s.Past.Stopping {
		return s.Operator.SetActionResults(ctx, map[string]string{"explain": s.usable().Error()})
	}
	fleet, err := s.fleet(ctx)
	if err != nil {
		return err
	}
	defer fleet.Close()
	lines := append(s.circumstances(), s.reportServices(ctx)...)
	if err := s.lookAtFormer(ctx, fleet); err != nil {
		lines = append(lines, "the previous charm's runners can't all be told: "+oneLine(err.Error()))
	}
	if left := s.former.String(); left != "" {
		lines = append(lines, "taking over: "+left+", and count until they are gone")
	}
	want := s.Want(s.wanted)
	want.Count = max(0, want.Count-len(s.former.Names()))
	found := fleet.Manager.Explain(ctx, want)
	results := s.reportResults(found.Report, found.Looked)
	results["explain"] = strings.Join(append(lines, found.Reasons...), "\n")
	results["explain-jobs"] = strings.Join(s.explainJobs(ctx, fleet, found), "\n")
	warn(results, s.warnings())
	return s.Operator.SetActionResults(ctx, results)
}

// circumstances are what holds for the whole unit and lets it have fewer runners
// than its configuration says, or other ones.
func (s *session) circumstances() []string {
	configured := fmt.Sprintf("virtual-machines=%d is not looked at", s.wanted.Count)
	var lines []string
	for _, one := range []struct {
		holds bool
		text  string
	}{
		{s.problems != nil, "the configuration is not applied, the last valid one is in force: " + errorText(s.problems)},
		{s.Drained(), "drained since " + s.DrainedSince.UTC().Format("2006-01-02 15:04 MST") + ", " + configured + ": " + s.howToResume()},
		{s.Detaching(s.wanted), "storage " + s.Past.Detaching + " is being detached, " + configured + ": runners come back once it is gone"},
		{s.wanted.ImageRelation.ID != "", fmt.Sprintf("runners are to start from the image %s, which %s sends by the relation %s", s.wanted.ImageRelation.ID, cmp.Or(s.wanted.ImageRelation.Application, "another application"), imageEndpoint)},
		{services.AgentIsOff(s.Root), services.AgentOffNote + ": until the next hook or action nothing is replaced"},
	} {
		if one.holds {
			lines = append(lines, one.text)
		}
	}
	return lines
}

// explainJobs says why jobs may wait.
func (s *session) explainJobs(ctx context.Context, fleet unit.Fleet, found runner.Explanation) []string {
	scope := s.wanted.Scope
	offer := "a runner of this unit offers the labels " + strings.Join(s.wanted.Labels, ", ")
	if scope.IsOrganization() {
		return []string{
			"GitHub has no list of the jobs that wait in an organisation; a job waits for this unit's runners if they offer all its labels, and if its repository may use the runner group " + s.wanted.Group,
			offer,
		}
	}
	if found.Away != nil {
		return []string{"whether jobs wait is not known while GitHub does not answer", offer}
	}
	queue, err := fleet.Queue(ctx, scope)
	if err != nil {
		return []string{"whether jobs wait is not known: " + oneLine(err.Error()), offer}
	}
	return append(queue.Reasons(s.wanted.Labels, time.Now()), offer)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err.Error())
}
