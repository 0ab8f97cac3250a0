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

// labels returns the configured labels.
func (r *reader) labels() []string {
	labels, bad := parseLabels(r.text(optionLabels))
	if len(bad) > 0 {
		r.reject(Problem{Option: optionLabels, Value: quoteAll(bad), Fault: notValid(bad), Right: rightLabels})
	}
	if most := maxLabels - ownLabels; len(labels) > most {
		r.reject(Problem{
			Option: optionLabels,
			Fault:  fmt.Sprintf("are too many (%d)", len(labels)),
			Right:  fmt.Sprintf("give %d at most: GitHub takes %d per runner, and %d are the charm's own", most, maxLabels, ownLabels),
		})
	}
	return labels
}

// parseLabels returns the labels of a list, lower-case and each one once, and what is
// in it besides: GitHub compares labels without regard to case and stores them
// lower-case.
func parseLabels(list string) (labels, bad []string) {
	for label := range strings.SplitSeq(list, ",") {
		label = strings.TrimSpace(label)
		switch lower := strings.ToLower(label); {
		case label == "" || slices.Contains(labels, lower):
		case isLabel(label):
			labels = append(labels, lower)
		default:
			bad = append(bad, label)
		}
	}
	return labels, bad
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

// ownLabels is how many labels allLabels adds, at most.
const ownLabels = 5

// allLabels puts the labels that GitHub's own registration would add, and the
// charm's, before the configured ones and the tags of the relation's image. Where
// these name another release than base-image, that is not what is in the runners.
func allLabels(s CharmState, configured, tags []string) []string {
	own := []string{"self-hosted", "linux", s.Arch.Label(), applicationOf(s.Owner)}
	isRelease := func(tag string) bool { return baseImages[tag] != "" }
	isBase := func(tag string) bool { return baseImages[tag] == s.BaseImage }
	if !slices.ContainsFunc(tags, isRelease) || slices.ContainsFunc(tags, isBase) {
		own = append(own, s.BaseImage)
	}
	var all []string
	for _, label := range slices.Concat(own, configured, tags) {
		if !slices.Contains(all, label) {
			all = append(all, label)
		}
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
