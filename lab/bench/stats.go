package bench

import (
	"cmp"
	"slices"
)

// Spread is a set of measurements, told by three of its figures.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the spread of what each sample gives; zero without samples.
func spreadOf[T any](samples []T, figure func(T) float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	values := make([]float64, 0, len(samples))
	for _, sample := range samples {
		values = append(values, figure(sample))
	}
	slices.SortFunc(values, cmp.Compare[float64])
	middle := len(values) / 2
	median := values[middle]
	if len(values)%2 == 0 {
		median = (values[middle-1] + values[middle]) / 2
	}
	return Spread{Median: median, Min: values[0], Max: values[len(values)-1]}
}

func cpuMilliseconds(u Usage) float64  { return u.CPU.Seconds() * 1e3 }
func wallMilliseconds(u Usage) float64 { return u.Wall.Seconds() * 1e3 }
func peakMegabytes(u Usage) float64    { return float64(u.PeakMemory) / 1e6 }
