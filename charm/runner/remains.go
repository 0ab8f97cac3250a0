package runner

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Remains is what a runner left behind.
type Remains struct {
	// PreJob and PostJob are the metrics files as the runner wrote them, at
	// most 1 KiB each; nil when there are none.
	PreJob  []byte
	PostJob []byte
	// LastLines are the last lines that the runner's application and service
	// wrote, or what it means that they wrote nothing, for a person to read; at
	// most MaxLastLines bytes.
	LastLines string
}

// MaxLastLines bounds what LastLines returns, in bytes.
const MaxLastLines = 2 << 10

// EndedWell reports whether the machine itself said that its job went normally, or
// was refused before its first step.
func (r Remains) EndedWell() bool {
	var left struct {
		Status string `json:"status"`
	}
	return json.Unmarshal(r.PostJob, &left) == nil && (left.Status == "normal" || strings.HasSuffix(left.Status, "-check-failure"))
}

// listening is what GitHub's application prints when it has connected, in small
// letters.
const listening = "listening for jobs"

// WasIdle reports whether a runner that printed log came online and was then left
// alone.
func (r Remains) WasIdle(log []byte) bool {
	return r.PreJob == nil && r.PostJob == nil && bytes.Contains(bytes.ToLower(log), []byte(listening))
}

// LastLines is the end of the first log that has any, for a person to read:
// valid text without control characters.
func LastLines(logs ...[]byte) string {
	for _, log := range logs {
		log = bytes.TrimRight(log, "\x00 \r\n\t")
		log = log[max(0, len(log)-MaxLastLines):]
		for len(log) > 0 && !utf8.RuneStart(log[0]) {
			log = log[1:]
		}
		lines := strings.TrimSpace(strings.Map(printable, strings.ToValidUTF8(string(log), "?")))
		if lines != "" {
			return lines
		}
	}
	return ""
}

func printable(r rune) rune {
	if r != '\n' && r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
