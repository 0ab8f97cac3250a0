package runner

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMemoryAfterTheClockWasSet(t *testing.T) {
	remembered := func(at time.Time) Memory {
		return Memory{
			Seen:     map[string]time.Time{signQuiet.key("a"): at},
			Setbacks: map[string]Setback{failQuota: {Count: 2, Until: at.Add(time.Minute)}},
		}
	}
	memory := remembered(epoch)
	memory.shift(time.Hour)
	if diff := cmp.Diff(remembered(epoch.Add(time.Hour)), memory); diff != "" {
		t.Errorf("an hour forward (-want +got):\n%s", diff)
	}
	memory.rewind(epoch.Add(2 * time.Hour))
	if diff := cmp.Diff(remembered(epoch.Add(time.Hour)), memory); diff != "" {
		t.Errorf("the past was changed (-want +got):\n%s", diff)
	}
	memory.rewind(epoch)
	want := Memory{
		Seen:     map[string]time.Time{signQuiet.key("a"): epoch},
		Setbacks: map[string]Setback{failQuota: {Count: 2, Until: epoch.Add(maxBackOff)}},
	}
	if diff := cmp.Diff(want, memory); diff != "" {
		t.Errorf("set back by an hour unseen (-want +got):\n%s", diff)
	}
}
