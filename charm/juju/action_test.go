package juju

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSetActionResults(t *testing.T) {
	tools := fakeTools(t, answers{"action-set": {}})
	results := map[string]string{"runners": "a=b\nc", "delta.virtual-machines": "-1", "online": "\x00"}
	if err := tools.SetActionResults(t.Context(), results); err != nil {
		t.Fatal(err)
	}
	wantCalls(t, tools, []string{"action-set", "--", "delta.virtual-machines=-1", "online=\ufffd", "runners=a=b\nc"})
}

func TestSetActionResultsRefuses(t *testing.T) {
	for _, key := range []string{"", "Busy", "a_b", "a..b", ".a", "a.", "-a", "a-", "a b", "a=b", "stdout", "return-code"} {
		t.Run(key, func(t *testing.T) {
			tools := fakeTools(t, answers{"action-set": {}})
			err := tools.SetActionResults(t.Context(), map[string]string{"aa": "1", key: "2"})
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", key)) {
				t.Errorf("got %v, want an error that names the key", err)
			}
			wantCalls(t, tools)
		})
	}
	t.Run("long value", func(t *testing.T) {
		tools := fakeTools(t, answers{"action-set": {}})
		err := tools.SetActionResults(t.Context(), map[string]string{"runners": strings.Repeat("x", maxArgument+1)})
		if err == nil || !strings.Contains(err.Error(), `"runners"`) {
			t.Errorf("got %v, want an error that names the key", err)
		}
		wantCalls(t, tools)
	})
}

func TestSetActionResultsOfManyBytes(t *testing.T) {
	tools := fakeTools(t, answers{"action-set": {}})
	results := map[string]string{}
	for i := range 30 {
		results[fmt.Sprintf("r%02d", i)] = strings.Repeat("x", 90<<10)
	}
	if err := tools.SetActionResults(t.Context(), results); err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, call := range calls(t, tools) {
		for _, arg := range call[2:] {
			key, _, _ := strings.Cut(arg, "=")
			set[key] = true
		}
	}
	if len(set) != len(results) {
		t.Errorf("%d of %d results were set", len(set), len(results))
	}
}

func TestActionTexts(t *testing.T) {
	tools := fakeTools(t, answers{"action-fail": {}, "action-log": {}})
	if err := tools.FailAction(t.Context(), "-no\x00"); err != nil {
		t.Fatal(err)
	}
	if err := tools.ActionLog(t.Context(), strings.Repeat("x", maxActionMessage+1)); err != nil {
		t.Fatal(err)
	}
	got := calls(t, tools)
	if want := []string{"action-fail", "--", "-no\ufffd"}; !slices.Equal(got[0], want) {
		t.Errorf("got %q, want %q", got[0], want)
	}
	if have := len(got[1][2]); have > maxActionMessage {
		t.Errorf("a message of %d bytes was logged", have)
	}
}
