// Package pattern knows what texts of one kind look like, and how long they may be.
//
// The length stands beside the regular expression, because a program pays at each of
// its starts for an expression that counts: regexp makes a hundred copies of what may
// come a hundred times. Each hook and each action is a start.
package pattern

import "regexp"

// Pattern is what texts of one kind look like.
type Pattern struct {
	least, most int
	expression  *regexp.Regexp
}

// UpTo is the pattern of texts of at most so many bytes that match an expression, which
// begins with ^ and ends with $. It panics if the expression is none.
func UpTo(most int, expression string) Pattern {
	return Between(0, most, expression)
}

// Between is as UpTo, for texts that have at least so many bytes.
func Between(least, most int, expression string) Pattern {
	return Pattern{least, most, regexp.MustCompile(expression)}
}

// Matches reports whether a text is of this kind.
func (p Pattern) Matches(text string) bool {
	return len(text) >= p.least && len(text) <= p.most && p.expression.MatchString(text)
}
