package guests

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
	"github-runner/lab/clock"
	"github-runner/lab/faults"
)

// The faults that a Builder has, besides AppExits.
const (
	BuildFails faults.Kind = "image-build-fails"
	BuildHangs faults.Kind = "image-build-hangs"
)

// listenerFile is where the guests of the emulation have the runner application. All
// that is in it is the application's version.
const listenerFile = cloudinit.ApplicationDir + "/bin/Runner.Listener"

// worker is where a machine for images has the program that does its work.
const worker = "/etc/github-runner-image/work"

// SpeaksOnConsole reports whether a machine for images prints on its console what it
// leaves for the manager.
func SpeaksOnConsole(userData string) bool {
	return strings.Contains(WrittenFile(userData, worker), "> /dev/console")
}

// Disk is what a machine for images works on.
type Disk interface {
	// Leave leaves a file for the manager, all at once.
	Leave(name, content string)
	// Log prints a line where the manager can read it.
	Log(line string)
	// Write writes a file to the root disk.
	Write(path, content string)
	// Read is a file that was written to it; "": there is none.
	Read(path string) string
}

// Builder is the software of a machine for images.
type Builder struct {
	// Name is its machine's.
	Name   string
	Disk   Disk
	Faults *faults.Set
	// Work is the time that it takes for each of its steps.
	Work time.Duration
}

// Run is what the machine does before it powers off, by the content of
// image.FactsPath. With ctx it loses its power.
func (b *Builder) Run(ctx context.Context, content string) {
	b.Disk.Write(image.FactsPath, content)
	var facts image.Facts
	if err := json.Unmarshal([]byte(content), &facts); err != nil {
		b.result(image.Result{Error: "cannot read " + image.FactsPath + ": " + err.Error()})
		return
	}
	work := b.install
	if facts.Trial {
		work = b.try
	}
	result := work(ctx, facts)
	if ctx.Err() != nil {
		return // it has lost its power
	}
	b.result(result)
}

// install makes the machine what its facts say.
func (b *Builder) install(ctx context.Context, facts image.Facts) image.Result {
	if b.step(ctx, "installing packages") != nil {
		return image.Result{}
	}
	if b.Faults.Take(BuildHangs, b.Name) != nil {
		<-ctx.Done()
		return image.Result{}
	}
	if f := b.Faults.Take(BuildFails, b.Name); f != nil {
		return image.Result{Error: f.Says("cannot install packages: apt-get: exit status 100")}
	}
	if b.step(ctx, "installing the runner application") != nil {
		return image.Result{}
	}
	b.Disk.Write(listenerFile, facts.RunnerVersion)
	return image.Result{RunnerVersion: facts.RunnerVersion}
}

// try shows that the machine's image has a runner application that starts.
func (b *Builder) try(ctx context.Context, _ image.Facts) image.Result {
	if b.step(ctx, "trying the runner application") != nil {
		return image.Result{}
	}
	if f := b.Faults.Take(AppExits, b.Name); f != nil {
		return image.Result{Error: f.Says("An error occurred: the runner application can't start")}
	}
	version := b.Disk.Read(listenerFile)
	if version == "" {
		return image.Result{Error: listenerFile + " is not there"}
	}
	return image.Result{RunnerVersion: version}
}

// step tells what the machine does, and takes the time for it; an error when it has
// lost its power.
func (b *Builder) step(ctx context.Context, does string) error {
	b.Disk.Leave(image.ProgressFile, does+"\n")
	b.Disk.Log("github-runner-image: " + does)
	return clock.Pause(ctx, b.Work)
}

// result leaves what the machine has to say at its end.
func (b *Builder) result(result image.Result) {
	content, err := json.Marshal(result)
	if err != nil {
		b.Disk.Log(err.Error())
		return
	}
	said := "done"
	if result.Error != "" {
		said = result.Error
	}
	b.Disk.Log("github-runner-image: " + said)
	b.Disk.Leave(image.ResultFile, string(content)+"\n")
}
