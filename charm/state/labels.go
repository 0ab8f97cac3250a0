package state

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github-runner/charm/runner"
)

// GitHub's limits for the labels of one runner.
const (
	maxLabels      = 100
	maxLabelLength = 256
)

const rightLabels = `give labels separated by commas, of letters, digits and - _ . + : / @ = # ~, at most 256 characters each`

// labels returns the configured labels, as they were written.
func (r *reader) labels() []string {
	var labels, bad []string
	for label := range strings.SplitSeq(r.text(optionLabels), ",") {
		label = strings.TrimSpace(label)
		switch {
		case label == "":
		case isLabel(label):
			labels = append(labels, label)
		default:
			bad = append(bad, label)
		}
	}
	if len(bad) > 0 {
		r.reject(Problem{Option: optionLabels, Value: quoteAll(bad), Fault: notValid(bad), Right: rightLabels})
	}
	return labels
}

// isLabel accepts more than our predecessor did (a dot, a plus), and nothing
// that could end a list or a word.
func isLabel(label string) bool {
	if label == "" || utf8.RuneCountInString(label) > maxLabelLength {
		return false
	}
	for _, c := range label {
		if c == utf8.RuneError || !unicode.In(c, unicode.L, unicode.M, unicode.Nd) && !strings.ContainsRune("-_.+:/@=#~", c) {
			return false
		}
	}
	return true
}

// allLabels puts GitHub's own labels and the charm's before the configured
// ones. GitHub compares labels without regard to case and stores them
// lower-case.
func (r *reader) allLabels(s CharmState, configured []string) []string {
	own := []string{"self-hosted", "linux", s.Arch.Label(), applicationOf(s.Owner), s.BaseImage}
	var all []string
	for _, label := range slices.Concat(own, configured) {
		if label = strings.ToLower(label); !slices.Contains(all, label) {
			all = append(all, label)
		}
	}
	if len(all) > maxLabels {
		r.reject(Problem{
			Option: optionLabels,
			Fault:  fmt.Sprintf("makes %d labels with the charm's own", len(all)),
			Right:  fmt.Sprintf("GitHub takes %d per runner, so give %d at most", maxLabels, maxLabels-len(own)),
		})
	}
	return all
}

func applicationOf(owner runner.Owner) string {
	application, _, _ := strings.Cut(owner.Unit, "/")
	return application
}

func notValid(bad []string) string {
	if len(bad) == 1 {
		return "is not valid"
	}
	return "are not valid"
}
