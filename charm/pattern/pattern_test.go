package pattern

import "testing"

func TestPattern(t *testing.T) {
	name, digits := UpTo(4, `^[a-z-]+$`), Between(2, 3, `^[0-9]+$`)
	for text, want := range map[string]struct{ name, digits bool }{
		"":      {},
		"a":     {name: true},
		"ab-c":  {name: true},
		"abcde": {},
		"abc\n": {},
		"1":     {},
		"12":    {digits: true},
		"123":   {digits: true},
		"1234":  {},
		"12x":   {},
	} {
		if got := name.Matches(text); got != want.name {
			t.Errorf("%q is a name: %v", text, got)
		}
		if got := digits.Matches(text); got != want.digits {
			t.Errorf("%q are digits: %v", text, got)
		}
	}
}
