package runner

import (
	"fmt"
	"testing"
	"time"
)

// steadyWorld is a world of so many idle runners in which nothing is to be done.
func steadyWorld(owner Owner, template Template, count int) World {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	scope := template.Want.Scope
	world := World{Now: now, Registrations: map[Scope][]Registration{}, Away: map[Scope]error{}, Unconfirmed: map[string]error{}}
	for i := range count {
		name := fmt.Sprintf("%s%08x", owner.Prefix(), i)
		id := int64(i + 1)
		world.Instances = append(world.Instances, Instance{
			Name:     name,
			Status:   StatusRunning,
			Scope:    scope,
			RunnerID: id,
			Created:  now.Add(-time.Hour),
			Hash:     template.Hash,
			Working:  WorkingNo,
		})
		world.Registrations[scope] = append(world.Registrations[scope], Registration{ID: id, Name: name, Online: true, Scope: scope})
	}
	return world
}

// BenchmarkSteady is what deciding costs when there is nothing to do.
func BenchmarkSteady(b *testing.B) {
	owner := Owner{ModelUUID: "0a1b2c3d-0000-4000-8000-000000000000", Unit: "github-runner/0"}
	for _, count := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			want := Want{Count: count, Scope: Scope{API: "https://api.github.com", Path: "acme/widgets"}}
			template := Template{Hash: "today", Want: want, BootDeadline: 3 * time.Minute}
			limits := DefaultLimits(2)
			world := steadyWorld(owner, template, count)
			_, memory := observe(world, owner, template, Memory{}, limits)
			b.ReportAllocs()
			for b.Loop() {
				view, after := observe(world, owner, template, memory, limits)
				if steps := plan(view, want, after, limits); len(steps) > 0 {
					b.Fatalf("%d steps where nothing is to be done, the first is to %s", len(steps), steps[0].Do)
				}
			}
		})
	}
}
