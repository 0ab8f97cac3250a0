package runner

import (
	"strings"
	"testing"
)

func TestWasIdle(t *testing.T) {
	for name, test := range map[string]struct {
		remains Remains
		diag    string
		wanted  bool
	}{
		"idle":               {Remains{}, "2026: Listening for Jobs\n", true},
		"never online":       {Remains{}, "cannot connect\n", false},
		"gone within a job":  {Remains{PreJob: []byte("{}")}, "Listening for Jobs", false},
		"ended without jobs": {Remains{PostJob: []byte("{}")}, "Listening for Jobs", false},
	} {
		if got := test.remains.WasIdle([]byte(test.diag)); got != test.wanted {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestLastLines(t *testing.T) {
	long := strings.Repeat("é", MaxLastLines)
	for log, wanted := range map[string]string{
		"":                   "",
		"one\ntwo\n":         "one\ntwo",
		"bell\x07esc\x1b[0m": "bell esc [0m",
		"not \xff text":      "not ? text",
		"x" + long:           long[:MaxLastLines],
	} {
		if got := LastLines(nil, []byte(" \n"), []byte(log)); got != wanted {
			t.Errorf("lastLines(%.20q) = %.40q", log, got)
		}
	}
}
