package image

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

func TestDue(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	made := recipe()
	made.Base = "stock"
	current := Image{Fingerprint: "f1", About: made.about(now.Add(-5 * day))}
	tests := map[string]struct {
		change func(*Image, *Recipe)
		life   time.Duration
		want   string
	}{
		"as good as new":       {nil, week, ""},
		"none":                 {func(i *Image, _ *Recipe) { *i = Image{} }, week, "there is none yet"},
		"an operator's own":    {func(i *Image, _ *Recipe) { *i = Image{Fingerprint: "own"} }, week, ""},
		"another base":         {func(i *Image, _ *Recipe) { i.Base = "elder" }, week, "the stock image is another one"},
		"another application":  {func(_ *Image, r *Recipe) { r.Application.Version = "3.0.0" }, week, "its runner application is 2.999.1, that of today is 3.0.0"},
		"more packages":        {func(_ *Image, r *Recipe) { r.Packages = []string{"podman"} }, week, "what it is made of has changed"},
		"old":                  {func(i *Image, _ *Recipe) { i.Made = now.Add(-week) }, week, "it is 7 days old"},
		"old, and no matter":   {func(i *Image, _ *Recipe) { i.Made = now.Add(-20 * day) }, 0, ""},
		"made in time to come": {func(i *Image, _ *Recipe) { i.Made = now.Add(week) }, week, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cloud, wanted := &fakeCloud{current: current}, recipe()
			if test.change != nil {
				test.change(&cloud.current, &wanted)
			}
			got, err := Due(t.Context(), cloud, wanted, test.life, now)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestDueWhereNothingIsKnown(t *testing.T) {
	for _, call := range []string{"stock", "current"} {
		cloud := &fakeCloud{fails: map[string]error{call: errors.New("LXD is away")}}
		if reason, err := Due(t.Context(), cloud, recipe(), week, time.Now()); err == nil || reason != "" {
			t.Errorf("%s: got %q, %v", call, reason, err)
		}
	}
}

// Images get old between the sixth and the seventh day, and not all at once.
func TestLifetimesAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for i := range 100 {
		life := lifetime(fmt.Sprint(i), week)
		if life < week-day || life > week {
			t.Errorf("image %d lives for %v", i, life)
		}
		seen[life.Round(time.Hour)] = true
	}
	if len(seen) < 10 {
		t.Errorf("a hundred images end at %d different hours", len(seen))
	}
}
