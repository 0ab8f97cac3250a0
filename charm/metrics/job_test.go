package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	goodPre  = `{"timestamp": 1700000000.5, "workflow": "CI", "repository": "acme/widgets", "event": "push", "workflow_run_id": "42"}`
	goodPost = `{"timestamp": 1700000060, "status": "normal", "status_info": {"code": 0}}`
)

func TestParsePreJob(t *testing.T) {
	want := PreJob{Timestamp: at(1700000000.5).UTC(), Workflow: "CI", Repository: "acme/widgets", Event: "push", RunID: "42"}
	for name, data := range map[string]string{
		"as text":     goodPre,
		"as number":   strings.Replace(goodPre, `"42"`, `42`, 1),
		"more fields": strings.Replace(goodPre, `{`, `{"new": [1], `, 1),
		"with spaces": "\n " + goodPre + "\n",
	} {
		got, err := ParsePreJob("runner-1", []byte(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParsePreJobRefuses(t *testing.T) {
	replace := func(old, new string) string {
		if !strings.Contains(goodPre, old) {
			t.Fatalf("%q is not in the good file", old)
		}
		return strings.Replace(goodPre, old, new, 1)
	}
	for name, data := range map[string]string{
		"nothing":               "",
		"null":                  "null",
		"an array":              "[" + goodPre + "]",
		"two objects":           goodPre + goodPre,
		"cut off":               goodPre[:40],
		"too long":              strings.Replace(goodPre, "{", "{"+strings.Repeat(" ", MaxFile), 1),
		"no UTF-8":              replace("CI", "\xff"),
		"deep":                  strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200),
		"infinite time":         replace("1700000000.5", "Infinity"),
		"overflowing time":      replace("1700000000.5", "1e999"),
		"far time":              replace("1700000000.5", "1e12"),
		"negative time":         replace("1700000000.5", "-1"),
		"time as text":          replace("1700000000.5", `"1700000000"`),
		"no time":               replace("timestamp", "time"),
		"null time":             replace("1700000000.5", "null"),
		"null repository":       replace(`"acme/widgets"`, "null"),
		"no owner":              replace("acme/widgets", "/widgets"),
		"three parts":           replace("acme/widgets", "a/b/c"),
		"long repository":       replace("acme/widgets", "acme/"+strings.Repeat("w", 200)),
		"path in repository":    replace("acme/widgets", "acme/wid gets"),
		"newline in repository": replace("acme/widgets", `acme/widgets\n`),
		"query in repository":   replace("acme/widgets", "acme/widgets?x"),
		"newline in workflow":   replace("CI", `CI\n{"}`),
		"escape in workflow":    replace("CI", `\u001b[2J`),
		"C1 in workflow":        replace("CI", `\u009b2J`),
		"long workflow":         replace("CI", strings.Repeat("x", maxText+1)),
		"no workflow":           replace("workflow\"", "work\""),
		"long event":            replace("push", strings.Repeat("p", 65)),
		"spaces in event":       replace("push", "pu sh"),
		"empty event":           replace("push", ""),
		"long run":              replace(`"42"`, strings.Repeat("4", 21)),
		"path in run":           replace(`"42"`, `"../42"`),
		"float as run":          replace(`"42"`, `4.2`),
		"object as run":         replace(`"42"`, `{}`),
		"no run":                replace("workflow_run_id", "run"),
		"negative run":          replace(`"42"`, `-1`),
	} {
		_, err := ParsePreJob("runner-1", []byte(data))
		if err == nil {
			t.Errorf("%s was believed", name)
			continue
		}
		if !strings.Contains(err.Error(), "runner-1") || len(err.Error()) > 150 {
			t.Errorf("%s: error %q does not name the runner, or dumps the file", name, err)
		}
	}
}

func TestParsePostJob(t *testing.T) {
	end := at(1700000060).UTC()
	tests := map[string]struct {
		data string
		want PostJob
	}{
		"normal":      {goodPost, PostJob{Timestamp: end, Status: StatusNormal, Code: pointer(0)}},
		"no info":     {`{"timestamp": 1700000060, "status": "abnormal"}`, PostJob{Timestamp: end, Status: StatusAbnormal}},
		"null info":   {`{"timestamp": 1700000060, "status": "abnormal", "status_info": null}`, PostJob{Timestamp: end, Status: StatusAbnormal}},
		"author":      {`{"timestamp": 1700000060, "status": "external-contributor-check-failure", "status_info": {"code": 0}}`, PostJob{Timestamp: end, Status: StatusAuthorCheckFailed, Code: pointer(0)}},
		"policy":      {`{"timestamp": 1700000060, "status": "repo-policy-check-failure", "status_info": {"code": 403}}`, PostJob{Timestamp: end, Status: StatusPolicyCheckFailed, Code: pointer(403)}},
		"no bad time": {`{"timestamp": 0, "status": "normal"}`, PostJob{Timestamp: time.Unix(0, 0).UTC(), Status: StatusNormal}},
	}
	for name, test := range tests {
		got, err := ParsePostJob("runner-1", []byte(test.data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, data := range map[string]string{
		"other status":     strings.Replace(goodPost, "normal", "fine", 1),
		"no status":        `{"timestamp": 1}`,
		"no time":          `{"status": "normal"}`,
		"status as number": strings.Replace(goodPost, `"normal"`, "1", 1),
		"huge code":        strings.Replace(goodPost, `"code": 0`, `"code": 1e30`, 1),
		"code as text":     strings.Replace(goodPost, `"code": 0`, `"code": "0"`, 1),
		"info as text":     strings.Replace(goodPost, `{"code": 0}`, `"x"`, 1),
	} {
		if _, err := ParsePostJob("runner-1", []byte(data)); err == nil {
			t.Errorf("%s was believed", name)
		}
	}
}

// FuzzParse proves that no file makes the parsers crash, and that what they
// let through can be written as one line of the log.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{goodPre, goodPost, "", "{", "null", `{"timestamp": 1e308}`, `{"timestamp":-0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if pre, err := ParsePreJob("runner-1", data); err == nil {
			for _, event := range Events(Life{Flavor: "f", Installed: at(1), PreJob: &pre, PostJob: &PostJob{}}) {
				if line := event.encode().String(); strings.ContainsAny(line, "\n\x00") || len(line) > 8*MaxFile {
					t.Errorf("line %q", line)
				}
			}
		}
		if post, err := ParsePostJob("runner-1", data); err == nil && post.Timestamp.Before(time.Unix(0, 0)) {
			t.Errorf("time %v was believed", post.Timestamp)
		}
	})
}
