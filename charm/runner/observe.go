package runner

import (
	"cmp"
	"slices"
	"time"
)

// World is what the cloud and GitHub answered at one moment.
type World struct {
	Now       time.Time
	Instances []Instance
	// Registrations holds, for every scope that could be listed, the
	// registrations of ours there.
	Registrations map[Scope][]Registration
	// Away holds why a scope could not be listed.
	Away map[Scope]error
	// Unconfirmed holds why GitHub could not be asked about single instances
	// that its list does not show, by name.
	Unconfirmed map[string]error
	// InFlight are the runners that a step is being done to, by name. They are
	// not judged: what was seen of them is about to change.
	InFlight map[string]Info
	// Took is how long cloud and GitHub took to tell of all, without the time that it
	// took to look into single instances.
	Took time.Duration
}

func (w World) inFlight(name string) bool {
	_, found := w.InFlight[name]
	return found
}

// View is the world, judged.
type View struct {
	Now     time.Time
	Runners []Info
	// Orphans are registrations of ours without an instance, with the time
	// since when they are orphans.
	Orphans []Info
	// Former are the scopes, besides the wanted one, that something of ours may
	// still be registered at.
	Former []Scope
	Away   map[Scope]error
}

// Count returns how many runners have one of the verdicts.
func (v View) Count(verdicts ...Verdict) int {
	n := 0
	for _, r := range v.Runners {
		if slices.Contains(verdicts, r.Verdict) {
			n++
		}
	}
	return n
}

// counted is how many runners count towards the wanted number.
func (v View) counted() int {
	n := 0
	for _, r := range v.Runners {
		if r.Verdict.Counts() {
			n++
		}
	}
	return n
}

// observe judges the world against the template. It is pure: what must be
// remembered for the next time is in the memory that it returns. An empty hash
// in the template makes no runner outdated.
func observe(world World, owner Owner, template Template, memory Memory, limits Limits) (View, Memory) {
	memory = memory.Clone()
	memory.rewind(world.Now)
	for scope := range world.Away {
		memory.set(signAway, scope.String(), world.Now)
		memory.first(signSilent, scope.String(), world.Now)
	}
	view := View{Now: world.Now, Away: world.Away}
	names := map[string]bool{}
	for _, instance := range world.Instances {
		names[instance.Name] = true
		if world.inFlight(instance.Name) {
			continue
		}
		view.Runners = append(view.Runners, inspect(instance, world, template, &memory, limits))
	}
	for _, registrations := range world.Registrations {
		for _, registration := range registrations {
			if names[registration.Name] || world.inFlight(registration.Name) || !owner.Owns(registration.Name) {
				continue
			}
			info := alone(registration, template, &memory, world.Now, limits)
			if info.Verdict == Orphan {
				view.Orphans = append(view.Orphans, info)
				continue
			}
			view.Runners = append(view.Runners, info)
		}
	}
	for name, runner := range world.InFlight {
		names[name] = true
		if runner.Verdict != Orphan {
			view.Runners = append(view.Runners, runner)
		}
	}
	for _, runner := range view.Runners {
		names[runner.Name] = true
	}
	for _, orphan := range view.Orphans {
		names[orphan.Name] = true
	}
	for scope := range world.Away {
		names[scope.String()] = true
	}
	memory.keepOnly(names, world.Now.Add(-limits.AfterAway))
	byName := func(a, b Info) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(view.Runners, byName)
	slices.SortFunc(view.Orphans, byName)
	view.Former = former(world, template.Want.Scope, memory)
	memory.Former = view.Former
	return view, memory
}

// alone judges a registration without an instance: that of a runner that was
// created a moment ago and that its cloud does not list yet, or an orphan.
func alone(registration Registration, template Template, memory *Memory, now time.Time, limits Limits) Info {
	info := Info{
		Instance:     Instance{Name: registration.Name, Scope: registration.Scope, RunnerID: registration.ID},
		Registration: registration,
		Verdict:      Orphan,
	}
	born, ok := memory.when(signBorn, registration.Name)
	if ok && now.Sub(born) < limits.ListLag {
		info.Verdict = Starting
		info.Status = StatusCreating
		info.Created = born
		info.Hash = template.Hash
		return info
	}
	info.Since = memory.first(signOrphan, registration.Name, now)
	return info
}

// former lists the scopes besides the wanted one that still matter: where an
// instance or a registration of ours is, or that can't be listed now.
func former(world World, wanted Scope, memory Memory) []Scope {
	matter := map[Scope]bool{}
	for _, instance := range world.Instances {
		matter[instance.Scope] = !instance.Foreign
	}
	for scope, registrations := range world.Registrations {
		matter[scope] = matter[scope] || len(registrations) > 0
	}
	for _, scope := range memory.Former {
		_, listed := world.Registrations[scope]
		matter[scope] = matter[scope] || !listed
	}
	var scopes []Scope
	for scope, matters := range matter {
		if matters && scope != wanted && !scope.IsZero() {
			scopes = append(scopes, scope)
		}
	}
	slices.SortFunc(scopes, func(a, b Scope) int {
		return cmp.Or(cmp.Compare(a.API, b.API), cmp.Compare(a.Path, b.Path))
	})
	return scopes
}

// inspect judges one instance.
func inspect(instance Instance, world World, template Template, memory *Memory, limits Limits) Info {
	info := Info{Instance: instance}
	if instance.Foreign {
		info.Verdict = Foreign
		return info
	}
	memory.forget(signBorn, instance.Name)
	if deleted, ok := memory.when(signDeleted, instance.Name); ok && world.Now.Sub(deleted) < limits.ListLag {
		info.Verdict = Deleting
		info.Since = deleted
		return info
	}
	seen := sightGone
	registration, listed := find(world.Registrations[instance.Scope], instance)
	_, away := world.Away[instance.Scope]
	_, unconfirmed := world.Unconfirmed[instance.Name]
	switch {
	case listed:
		info.Registration = registration
		seen = sight(registration)
	case away || unconfirmed:
		seen = sightNone
	}
	info.Gone = seen == sightGone
	remember(memory, instance, seen, world.Now)
	info.Verdict = judge(facts{
		status:   instance.Status,
		seen:     seen,
		working:  instance.Working,
		booting:  booting(instance, *memory, world.Now, template.BootDeadline, limits),
		agesHold: agesHold(instance.Scope, *memory, world.Now, limits),
		ended:    instance.Completed && !instance.TookJob,
	})
	free := info.Verdict == Idle || info.Verdict == Starting
	info.Outdated = free && outdated(instance, template, world.Now, limits)
	online, wasOnline := memory.when(signOnline, instance.Name)
	info.Proven = instance.TookJob || info.Verdict == Busy || info.Verdict == Idle && world.Now.Sub(online) >= limits.Proven
	if info.Proven {
		memory.first(signLasted, instance.Name, world.Now)
	}
	_, lasted := memory.when(signLasted, instance.Name)
	ended := info.Verdict == Dead || info.Verdict == Lost
	_, byUs := memory.when(signDeregistered, instance.Name)
	// Not every cloud tells who took a job; GitHub knows of one that runs.
	tookJob := instance.TookJob || registration.Busy
	info.FailedStart = ended && listed && !tookJob && !byUs && !lasted && !(wasOnline && info.Verdict == Lost)
	settle(&info, memory, world.Now, limits)
	return info
}

func find(registrations []Registration, instance Instance) (Registration, bool) {
	for _, r := range registrations {
		if r.ID == instance.RunnerID || instance.RunnerID == 0 && r.Name == instance.Name {
			return r, true
		}
	}
	return Registration{}, false
}

func remember(memory *Memory, instance Instance, seen sighting, now time.Time) {
	switch seen {
	case sightOnline, sightBusy:
		memory.first(signOnline, instance.Name, now)
		memory.forget(signOffline, instance.Name)
	case sightOffline:
		memory.first(signOffline, instance.Name, now)
	}
}

// booting reports whether an offline runner may still come online. One that was
// online gets a grace, because a network may blink.
func booting(instance Instance, memory Memory, now time.Time, deadline time.Duration, limits Limits) bool {
	if now.Before(instance.Created.Add(deadline)) {
		return true
	}
	since, ok := memory.when(signOffline, instance.Name)
	return ok && now.Sub(since) < limits.OfflineGrace
}

// agesHold reports whether GitHub was away until so recently that a runner may
// not have had the time to come back.
func agesHold(scope Scope, memory Memory, now time.Time, limits Limits) bool {
	last, ok := memory.when(signAway, scope.String())
	return ok && now.Sub(last) < limits.AfterAway
}

func outdated(instance Instance, template Template, now time.Time, limits Limits) bool {
	if template.Hash == "" {
		return false
	}
	return instance.Hash != template.Hash || now.Sub(instance.Created) > limits.Idle
}

// settle works out since when a runner is on its way out, and whether it may be
// removed.
func settle(info *Info, memory *Memory, now time.Time, limits Limits) {
	switch info.Verdict {
	case Deleting:
		info.Since = memory.first(signDeleting, info.Name, now)
	case Finishing:
		info.Since = memory.first(signGone, info.Name, now)
		info.Removable = finished(*info, memory, now, limits)
	}
}

func finished(info Info, memory *Memory, now time.Time, limits Limits) bool {
	if info.Completed {
		return true
	}
	if info.Working == WorkingYes || info.Working == WorkingUnknown {
		memory.forget(signQuiet, info.Name)
		return false
	}
	quiet := memory.first(signQuiet, info.Name, now)
	_, wasOnline := memory.when(signOnline, info.Name)
	sure := info.Working == WorkingNo || !wasOnline
	deregistered, byUs := memory.when(signDeregistered, info.Name)
	if sure && byUs && now.Sub(deregistered) >= limits.Settle {
		return true
	}
	return now.Sub(quiet) >= limits.Quiet
}
