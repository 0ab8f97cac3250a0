package lxd

import (
	"encoding/json"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
)

// listenerFile is where the guests of the emulation have the runner application. All
// that is in it is the application's version.
const listenerFile = cloudinit.ApplicationDir + "/bin/Runner.Listener"

// makeImage is what a machine for images does before it powers off.
func (g *guest) makeImage(content string) {
	if !g.hasExchange() {
		return
	}
	g.write(image.FactsPath, content)
	var facts image.Facts
	if err := json.Unmarshal([]byte(content), &facts); err != nil {
		g.result(image.Result{Error: "cannot read " + image.FactsPath + ": " + err.Error()})
		return
	}
	work := g.install
	if facts.Trial {
		work = g.try
	}
	result := work(facts)
	if g.ctx.Err() != nil {
		return // it has lost its power
	}
	g.result(result)
}

// install makes the machine what its facts say.
func (g *guest) install(facts image.Facts) image.Result {
	faults := g.server.faults
	if g.step("installing packages") != nil {
		return image.Result{}
	}
	if faults.take(BuildHangs, g.name) != nil {
		<-g.ctx.Done()
		return image.Result{}
	}
	if f := faults.take(BuildFails, g.name); f != nil {
		return image.Result{Error: f.message("cannot install packages: apt-get: exit status 100")}
	}
	if g.step("installing the runner application") != nil {
		return image.Result{}
	}
	g.write(listenerFile, facts.RunnerVersion)
	return image.Result{RunnerVersion: facts.RunnerVersion}
}

// try shows that the machine's image has a runner application that starts.
func (g *guest) try(image.Facts) image.Result {
	if g.step("trying the runner application") != nil {
		return image.Result{}
	}
	if f := g.server.faults.take(AppExits, g.name); f != nil {
		return image.Result{Error: f.message("An error occurred: the runner application can't start")}
	}
	g.server.mu.Lock()
	version := g.instance.Files[listenerFile]
	g.server.mu.Unlock()
	if version == "" {
		return image.Result{Error: listenerFile + " is not there"}
	}
	return image.Result{RunnerVersion: version}
}

// step tells what the machine does, and takes the time for it; an error when it has
// lost its power.
func (g *guest) step(does string) error {
	g.leave(image.ProgressFile, does+"\n")
	g.log("github-runner-image: " + does)
	return pause(g.ctx, g.server.options.Timing.Work)
}

// result leaves what the machine has to say at its end.
func (g *guest) result(result image.Result) {
	content, err := json.Marshal(result)
	if err != nil {
		g.log(err.Error())
		return
	}
	said := "done"
	if result.Error != "" {
		said = result.Error
	}
	g.log("github-runner-image: " + said)
	g.leave(image.ResultFile, string(content)+"\n")
}

// write writes a file to the root disk.
func (g *guest) write(path, content string) {
	g.server.mu.Lock()
	defer g.server.mu.Unlock()
	g.instance.Files[path] = content
	g.server.changed(g.instance)
}
