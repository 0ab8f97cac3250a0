package lxd

import (
	"testing"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

func TestEachRunnerGetsOneOfTheDebugHosts(t *testing.T) {
	config := testConfig(t)
	config.DebugHosts = []cloudinit.DebugHost{{Host: "203.0.113.81", Port: 22}, {Host: "203.0.113.82", Port: 10022}}
	cloud, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[cloudinit.DebugHost]int{}
	for range 100 {
		seen[*cloud.machine(runner.Template{}, runner.Birth{}).DebugHost]++
	}
	for _, host := range config.DebugHosts {
		if seen[host] == 0 {
			t.Errorf("no runner of 100 got %v", host)
		}
	}
	if len(seen) != len(config.DebugHosts) {
		t.Errorf("runners got %v", seen)
	}
}

func TestARunnerNeedsNoDebugHost(t *testing.T) {
	cloud, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	if host := cloud.machine(runner.Template{}, runner.Birth{}).DebugHost; host != nil {
		t.Errorf("the runner got %v", host)
	}
}
