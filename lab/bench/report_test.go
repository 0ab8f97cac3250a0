package bench

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpread(t *testing.T) {
	same := func(v float64) float64 { return v }
	for _, test := range []struct {
		samples []float64
		want    Spread
	}{
		{nil, Spread{}},
		{[]float64{7}, Spread{7, 7, 7}},
		{[]float64{9, 1, 4}, Spread{4, 1, 9}},
		{[]float64{9, 1, 4, 5}, Spread{4.5, 1, 9}},
	} {
		if diff := cmp.Diff(test.want, spreadOf(test.samples, same)); diff != "" {
			t.Errorf("spread of %v (-want +got):\n%s", test.samples, diff)
		}
	}
}

func TestTargets(t *testing.T) {
	at := func(median float64) Result { return Result{Charm: Spread{Median: median}} }
	for name, test := range map[string]struct {
		result Result
		want   bool
	}{
		"within a bound":             {at(49).within(Target{Most: 50}), true},
		"at a bound":                 {at(50).within(Target{Most: 50}), true},
		"beyond a bound":             {at(51).within(Target{Most: 50}), false},
		"none where none may be":     {at(0).within(Target{}), true},
		"one where none may be":      {at(1).within(Target{}), false},
		"ratio within":               {at(13).against(Spread{Median: 10}).within(Target{Ratio: true, Most: 1.3}), true},
		"ratio beyond":               {at(14).against(Spread{Median: 10}).within(Target{Ratio: true, Most: 1.3}), false},
		"median counts, not a ratio": {at(40).against(Spread{Median: 1}).within(Target{Most: 50}), true},
	} {
		if test.result.Target.Met != test.want {
			t.Errorf("%s: met is %t, want %t", name, test.result.Target.Met, test.want)
		}
	}
}

func TestPrint(t *testing.T) {
	report := Report{
		Machine: Machine{CPUs: 2, Model: "Z80", Memory: 4e9, Kernel: "6.1", Cloud: "LXD 5.0.2, storage btrfs", Load: 0.5},
		Results: []Result{
			Result{Benchmark: "containers", Case: "8", Figure: "until online", Unit: "s", Charm: Spread{14, 13.25, 150}}.
				against(Spread{10, 9.5, 11}).within(Target{Ratio: true, Most: 1.3}),
			Result{Benchmark: "reconcile", Case: "10", Figure: "calls", Unit: "calls", Charm: Spread{1, 1, 1}}.within(Target{Most: 1}),
			{Benchmark: "reconcile", Case: "10", Figure: "wall time", Unit: "ms", Charm: Spread{0.25, 0.25, 0.25}},
		},
		Skipped: []string{"images on zfs: there is none", "images on lvm: there is none"},
	}
	want := `Machine: 2 CPUs (Z80), 4 GB, Linux 6.1, LXD 5.0.2, storage btrfs, load 0.5

containers
CASE  FIGURE        CHARM              FLOOR             RATIO  TARGET        MET
8     until online  14 s (13.2–150)    10 s (9.50–11)    1.40   ratio ≤ 1.30  NO

reconcile
CASE  FIGURE     CHARM    FLOOR  RATIO  TARGET     MET
10    calls      1 calls  -      -      ≤ 1 calls  yes
10    wall time  0.25 ms  -      -      -          -

not measured: images on zfs: there is none
not measured: images on lvm: there is none
`
	var b strings.Builder
	if err := report.Print(&b); err != nil {
		t.Fatal(err)
	}
	squeeze := func(text string) []string {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return lines
	}
	if diff := cmp.Diff(squeeze(want), squeeze(b.String())); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	report.Machine.Load = 7
	b.Reset()
	if err := report.Print(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "busy") {
		t.Error("the report of a busy machine does not say so")
	}
}
