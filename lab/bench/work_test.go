package bench

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestProcessorTime(t *testing.T) {
	const stat = "42 (a name) with) S 1 42 42 0 -1 4194304 10 20 30 40 100 20 3000 400 20 0 1 0 5 6 7"
	if got, err := processorTime(stat); err != nil || got != 35200*time.Millisecond {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "42 (cut off) S 1 42", "42 (odd) S 1 42 42 0 -1 4194304 10 20 30 40 x 20 3000 400 20"} {
		if got, err := processorTime(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
	// Of a real process.
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := processorTime(string(own)); err != nil || got < 0 || got > time.Hour {
		t.Errorf("of this process: %v, %v", got, err)
	}
}
