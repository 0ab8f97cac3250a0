package bench

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Report is all that was measured, and on what.
type Report struct {
	Machine Machine  `json:"machine"`
	Results []Result `json:"results"`
	// Skipped is what could not be measured on this machine, and why.
	Skipped []string `json:"skipped,omitempty"`
}

// Result is one figure of one case.
type Result struct {
	Benchmark string `json:"benchmark"`
	// Case is how many of what.
	Case string `json:"case"`
	// Figure is what was measured, Unit its unit.
	Figure string `json:"figure"`
	Unit   string `json:"unit"`
	Charm  Spread `json:"charm"`
	// Floor is what the same costs without the charm; nil where there is no
	// such thing.
	Floor *Spread `json:"floor,omitempty"`
	// Ratio is the charm's median by the floor's.
	Ratio float64 `json:"ratio,omitempty"`
	// Target is what the figure should be; nil where nothing was promised.
	Target *Target `json:"target,omitempty"`
}

// Target bounds a figure: its ratio, or its median where it is not of a ratio.
type Target struct {
	Ratio bool    `json:"ratio"`
	Most  float64 `json:"most"`
	// Met is whether the figure is within.
	Met bool `json:"met"`
}

// against puts a floor beside a figure.
func (r Result) against(floor Spread) Result {
	r.Floor = &floor
	if floor.Median > 0 {
		r.Ratio = r.Charm.Median / floor.Median
	}
	return r
}

// within judges a figure by its target.
func (r Result) within(target Target) Result {
	value := r.Charm.Median
	if target.Ratio {
		value = r.Ratio
	}
	target.Met = value <= target.Most
	r.Target = &target
	return r
}

// Print writes the report for a person.
func (r Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "Machine: %s\n", r.Machine)
	if r.Machine.Busy() {
		fmt.Fprintln(w, "It was busy before anything was measured: trust no time, and ratios only roughly.")
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	last := ""
	for _, result := range r.Results {
		if result.Benchmark != last {
			last = result.Benchmark
			fmt.Fprintf(table, "\n%s\n", last)
			fmt.Fprintln(table, "CASE\tFIGURE\tCHARM\tFLOOR\tRATIO\tTARGET\tMET")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", result.Case, result.Figure,
			result.spread(&result.Charm), result.spread(result.Floor), result.ratio(), result.target(), result.met())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	between := "\n"
	for _, what := range r.Skipped {
		fmt.Fprintf(w, "%snot measured: %s\n", between, what)
		between = ""
	}
	return nil
}

func (r Result) spread(s *Spread) string {
	switch {
	case s == nil:
		return "-"
	case s.Min == s.Max:
		return fmt.Sprintf("%s %s", figure(s.Median), r.Unit)
	}
	return fmt.Sprintf("%s %s (%s–%s)", figure(s.Median), r.Unit, figure(s.Min), figure(s.Max))
}

func (r Result) ratio() string {
	if r.Ratio == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", r.Ratio)
}

func (r Result) target() string {
	switch {
	case r.Target == nil:
		return "-"
	case r.Target.Ratio:
		return fmt.Sprintf("ratio ≤ %s", figure(r.Target.Most))
	}
	return fmt.Sprintf("≤ %s %s", figure(r.Target.Most), r.Unit)
}

func (r Result) met() string {
	switch {
	case r.Target == nil:
		return "-"
	case r.Target.Met:
		return "yes"
	}
	return "NO"
}

// figure writes a number with three digits that count, or all before the point.
func figure(value float64) string {
	switch magnitude := math.Abs(value); {
	case value == math.Trunc(value) || magnitude >= 100:
		return fmt.Sprintf("%.0f", value)
	case magnitude >= 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.2f", value)
}
