package bench

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what the figures were measured on.
type Machine struct {
	CPUs int `json:"cpus"`
	// Model is the processor's name, as far as the kernel tells.
	Model string `json:"model,omitempty"`
	// Memory is in bytes.
	Memory uint64 `json:"memory"`
	Kernel string `json:"kernel"`
	// Load is how many processes wanted to run in the minute before.
	Load float64 `json:"load"`
	// Cloud is LXD's version and storage driver, or that it was emulated.
	Cloud string `json:"cloud"`
}

// String is the machine in one line.
func (m Machine) String() string {
	cloud := cmp.Or(m.Cloud, "emulated clouds")
	return fmt.Sprintf("%d CPUs (%s), %s GB, Linux %s, %s, load %.1f", m.CPUs, m.Model, figure(float64(m.Memory)/1e9), m.Kernel, cloud, m.Load)
}

// Busy reports whether others kept the machine's processors busy.
func (m Machine) Busy() bool {
	return m.Load > float64(m.CPUs)/2
}

// loadShift is the kernel's fixed point of load averages, SI_LOAD_SHIFT.
const loadShift = 16

func describeMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Model: processor()}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = info.Totalram * uint64(info.Unit)
		m.Load = float64(info.Loads[0]) / (1 << loadShift)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
