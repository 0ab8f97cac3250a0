package state

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that a person must change before the charm can work.
type Problem struct {
	// Option is the configuration option, or the name of what else is wrong.
	Option string
	// Value is the bad value, quoted and shortened, or empty where it is unset,
	// secret or may hold a secret.
	Value string
	// Fault says what is wrong with it, such as "is missing".
	Fault string
	// Right says what would be right.
	Right string
	// Passes is set where nobody need do anything: it may be gone the next time.
	Passes bool
}

// Error is one line: option, bad value, what would be right.
func (p Problem) Error() string {
	subject := p.Option
	if p.Value != "" {
		subject += " " + p.Value
	}
	return fmt.Sprintf("%s %s: %s", subject, p.Fault, p.Right)
}

// Problems is the error of New: all that is wrong, in the order in which the
// options are read. It is never empty when New returns it.
type Problems []Problem

// Error is one line with all problems, fit for a unit's status.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "; ")
}

// Pass reports whether nothing is wrong but what may be gone the next time.
func (p Problems) Pass() bool {
	return !slices.ContainsFunc(p, func(problem Problem) bool { return !problem.Passes })
}

// shownLength is how many characters of a bad value a person is shown: enough
// to recognise it.
const shownLength = 60

// quote makes one short printable line of any value.
func quote(value string) string {
	runes := []rune(value)
	if len(runes) <= shownLength {
		return strconv.Quote(value)
	}
	return strconv.Quote(string(runes[:shownLength])+"…") + fmt.Sprintf(" (%d characters)", len(runes))
}

// shownEntries is how many bad entries of a list a person is shown.
const shownEntries = 3

// quoteAll does for the bad entries of a list what quote does for a value.
func quoteAll(values []string) string {
	var quoted []string
	for _, value := range values[:min(len(values), shownEntries)] {
		quoted = append(quoted, quote(value))
	}
	text := strings.Join(quoted, ", ")
	if more := len(values) - shownEntries; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
