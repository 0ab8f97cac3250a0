package guest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var wanted = []File{{Path: "/a", Max: 4}, {Path: "/b", Max: 4, End: true}, {Path: "/c", Max: 0}}

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   map[string][]byte
		wrong  string
	}{
		"all":        {"0 YWJjZA==\n1 YQ==\n2 \nend\n", map[string][]byte{"/a": []byte("abcd"), "/b": []byte("a"), "/c": {}}, ""},
		"none":       {"end\n", map[string][]byte{}, ""},
		"too large":  {"0 YWJjZGU=\n1 YQ==\nend\n", map[string][]byte{"/b": []byte("a")}, "/a is too large: it has more than 4 bytes"},
		"not empty":  {"2 YQ==\nend\n", map[string][]byte{}, "/c is too large"},
		"over bound": {"0 YWJjZGVm\nend\n", nil, "makes no sense"},
		"over end":   {"1 YWJjZGU=\nend\n", nil, "makes no sense"},
		"empty":      {"", nil, "makes no sense"},
		"cut off":    {"0 YQ==\n", nil, "makes no sense"},
		"no newline": {"end", nil, "makes no sense"},
		"more":       {"end\n0 YQ==\n", nil, "makes no sense"},
		"twice":      {"0 YQ==\n0 YQ==\nend\n", nil, "makes no sense"},
		"disorder":   {"1 YQ==\n0 YQ==\nend\n", nil, "makes no sense"},
		"unasked":    {"3 YQ==\nend\n", nil, "makes no sense"},
		"negative":   {"-1 YQ==\nend\n", nil, "makes no sense"},
		"plus":       {"+0 YQ==\nend\n", nil, "makes no sense"},
		"no number":  {"/a YQ==\nend\n", nil, "makes no sense"},
		"no space":   {"0\nend\n", nil, "makes no sense"},
		"no base64":  {"0 a b c\nend\n", nil, "makes no sense"},
		"return":     {"0 YQ==\r\nend\n", nil, "makes no sense"},
		"greeting":   {"Welcome\n0 YQ==\nend\n", nil, "makes no sense"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse([]byte(test.answer), wanted)
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("error %v, want one with %q", err, test.wrong)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("parsed (-want +got):\n%s", diff)
			}
			if int64(len(test.answer)) > maxAnswer(wanted) && err == nil {
				t.Errorf("maxAnswer is %d, but %d bytes are good", maxAnswer(wanted), len(test.answer))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0 YWJjZA==\n1 YQ==\n2 \nend\n", "end\n", "0 YWJjZGU=\nend\n", "0 YR==\nend\n", "00 YQ==\nend\n", "\n\n", "0 Y\rQ==\nend\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		found, err := parse(answer, wanted)
		if err != nil {
			return
		}
		// What is understood is what the script would have printed.
		var printed strings.Builder
		for i, file := range wanted {
			content, there := found[file.Path]
			if !there {
				continue
			}
			if int64(len(content)) > file.Max {
				t.Errorf("%s has %d bytes", file.Path, len(content))
			}
			fmt.Fprintf(&printed, "%d %s\n", i, base64.StdEncoding.EncodeToString(content))
		}
		printed.WriteString("end\n")
		if printed.String() != string(answer) {
			t.Errorf("%q is understood as %q", answer, printed.String())
		}
	})
}

func TestCommandRefusesWhatNoShellTakes(t *testing.T) {
	if _, err := readCommand([]File{{Path: "/a\x00b"}}); err == nil || !strings.Contains(err.Error(), "NUL") {
		t.Errorf("a path with a NUL character: %v", err)
	}
}
