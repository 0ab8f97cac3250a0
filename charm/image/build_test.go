package image

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeCloud notes what is asked of it, and does what its fields say.
type fakeCloud struct {
	calls []string
	// results are what the machines leave, one after the other.
	results []string
	// fails are the errors of calls, by name.
	fails   map[string]error
	hangs   bool
	current Image
	// stays is why the machine can't be removed once it has been used.
	stays error
}

func (f *fakeCloud) call(name, argument string) error {
	f.calls = append(f.calls, strings.TrimSpace(name+" "+argument))
	return f.fails[name]
}

func (f *fakeCloud) Stock(context.Context) (string, error) { return "stock", f.call("stock", "") }

func (f *fakeCloud) Run(ctx context.Context, image string, _ []byte, progress func(string)) ([]byte, error) {
	if err := f.call("run", image); err != nil {
		return nil, err
	}
	if f.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	progress("installing packages")
	result := f.results[0]
	f.results = f.results[1:]
	return []byte(result), nil
}

func (f *fakeCloud) Publish(_ context.Context, about About) (string, error) {
	if err := f.call("publish", about.Base+" "+about.RunnerVersion); err != nil {
		return "", err
	}
	return "new", nil
}

func (f *fakeCloud) Clear(context.Context) error {
	err := f.call("clear", "")
	if len(f.results) == 0 {
		err = errors.Join(err, f.stays)
	}
	return err
}

func (f *fakeCloud) Current(context.Context) (Image, error) { return f.current, f.call("current", "") }

func (f *fakeCloud) Use(_ context.Context, fingerprint string) error {
	return f.call("use", fingerprint)
}

const good = `{"runner-version": "2.999.1"}`

func TestBuild(t *testing.T) {
	cloud := &fakeCloud{results: []string{`{"runner-version": "2.999.1", "skipped": ["aproxy: no\tsnapd"]}`, good}}
	var lines []string
	built, err := Build(t.Context(), cloud, recipe(), func(line string) { lines = append(lines, line) })
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"stock", "run stock", "publish stock 2.999.1", "run new", "use new", "clear"}
	if diff := cmp.Diff(want, cloud.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if built.Fingerprint != "new" || built.Recipe == recipe().Hash() || built.Base != "stock" || !cmp.Equal(built.Skipped, []string{"aproxy: no snapd"}) {
		t.Errorf("built %+v", built)
	}
	if len(lines) < 4 {
		t.Errorf("progress was %q", lines)
	}
}

func TestBuildThatFailsLeavesNothing(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]struct {
		cloud fakeCloud
		want  string
	}{
		"no stock image":           {fakeCloud{fails: map[string]error{"stock": broken}}, "broken"},
		"no machine":               {fakeCloud{fails: map[string]error{"run": broken}}, "broken"},
		"a machine that fails":     {fakeCloud{results: []string{`{"error": "cannot install packages: \u001b[31mE: no"}`}}, "cannot install packages:  [31mE: no"},
		"a result that is none":    {fakeCloud{results: []string{`{"error": 5}`}}, "can't be read"},
		"no image of it":           {fakeCloud{results: []string{good}, fails: map[string]error{"publish": broken}}, "broken"},
		"an image that fails":      {fakeCloud{results: []string{good, `{"error": "the image has no program npm"}`}}, "the new image does not work: the image has no program npm"},
		"an image of another kind": {fakeCloud{results: []string{good, `{"runner-version": "2.1"}`}}, `"2.1", not "2.999.1"`},
		"an image not to be used":  {fakeCloud{results: []string{good, good}, fails: map[string]error{"use": broken}}, "broken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Build(t.Context(), &test.cloud, recipe(), func(string) {})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if calls := test.cloud.calls; calls[len(calls)-1] != "clear" {
				t.Errorf("what it made stays: %v", calls)
			}
		})
	}
}

func TestBuildOfAMachineThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &fakeCloud{hangs: true}
		began := time.Now()
		_, err := Build(t.Context(), cloud, recipe(), func(string) {})
		if err == nil || !strings.Contains(err.Error(), "within 1h0m0s") {
			t.Errorf("got %v, want the limit", err)
		}
		if took := time.Since(began); took != buildLimit {
			t.Errorf("it took %v", took)
		}
	})
}

func TestBuildThatIsCalledOffLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cloud := &fakeCloud{hangs: true}
		if _, err := Build(ctx, cloud, recipe(), func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if want := []string{"stock", "run stock", "clear"}; !cmp.Equal(cloud.calls, want) {
			t.Errorf("calls are %v, want %v", cloud.calls, want)
		}
	})
}

// An image whose use was begun, though the answer was lost, is in use.
func TestBuildWhoseLastAnswerIsLost(t *testing.T) {
	cloud := &fakeCloud{results: []string{good, good}, fails: map[string]error{"use": errors.New("EOF")}, current: Image{Fingerprint: "new"}}
	if built, err := Build(t.Context(), cloud, recipe(), func(string) {}); err != nil || built.Fingerprint != "new" {
		t.Errorf("built %+v, %v", built, err)
	}
}

// What stays of a build that did its work is removed by whoever looks for leftovers.
func TestBuildWhoseMachineStays(t *testing.T) {
	cloud := &fakeCloud{results: []string{good, good}}
	var lines []string
	_, err := Build(t.Context(), cloud, recipe(), func(line string) {
		lines = append(lines, line)
		if line == "starting a machine from the new image" {
			cloud.stays = errors.New("cannot remove the machine")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "cannot remove the machine") {
		t.Errorf("progress ends with %q", last)
	}
}
