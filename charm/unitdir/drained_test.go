package unitdir

import (
	"os"
	"testing"
)

func TestDrained(t *testing.T) {
	dir := open(t)
	since, err := dir.DrainedSince()
	if err != nil || !since.IsZero() {
		t.Fatalf("a new unit is drained since %v, %v", since, err)
	}
	must(t, dir.UnmarkDrained())
	must(t, dir.MarkDrained())
	since, err = dir.DrainedSince()
	if err != nil || since.IsZero() {
		t.Fatalf("a drained unit is drained since %v, %v", since, err)
	}

	// Neither another request nor the loss of the state changes that.
	must(t, dir.MarkDrained())
	must(t, os.WriteFile(dir.Path(stateFile), []byte("{"), 0o600))
	if _, err := dir.ReadState(); err == nil {
		t.Fatal("a corrupt state is read")
	}
	if again, err := dir.DrainedSince(); err != nil || !again.Equal(since) {
		t.Errorf("it is drained since %v, %v; want %v", again, err, since)
	}

	for range 2 {
		must(t, dir.UnmarkDrained())
	}
	if since, err := dir.DrainedSince(); err != nil || !since.IsZero() {
		t.Errorf("after all it is drained since %v, %v", since, err)
	}
}

func TestDrainedThatCannotBeMarked(t *testing.T) {
	dir := open(t)
	must(t, dir.Remove())
	if err := dir.MarkDrained(); err == nil {
		t.Error("a unit without a folder is drained")
	}
}
