package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: Linux shows a hundred of them
// for each second, whatever its own clock is.
const tick = 10 * time.Millisecond

// work is the processor time that LXD and what it has run took so far, and that of
// the containers since they started. Unlike the time that passes it hardly depends
// on who else uses the machine.
func (f *floor) work(runners []plain) (time.Duration, error) {
	info, _, err := f.server.GetServer()
	if err != nil {
		return 0, fmt.Errorf("cannot find LXD's process: %w", err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", info.Environment.ServerPid))
	if err != nil {
		return 0, fmt.Errorf("cannot read LXD's processor time: %w", err)
	}
	total, err := processorTime(string(stat))
	if err != nil {
		return 0, err
	}
	for _, one := range runners {
		state, _, err := f.server.GetInstanceState(one.name)
		if err != nil {
			return 0, fmt.Errorf("cannot read the processor time of %s: %w", one.name, err)
		}
		total += time.Duration(state.CPU.Usage)
	}
	return total, nil
}

// processorTime returns what /proc/PID/stat says that a process and those that it
// has waited for took.
func processorTime(stat string) (time.Duration, error) {
	// The name before the last parenthesis may hold spaces.
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	const first, last = 14 - 3, 17 - 3 // utime, stime, cutime, cstime; two are cut off
	if len(fields) <= last {
		return 0, fmt.Errorf("cannot read the processor time of a process from %q", stat)
	}
	var total time.Duration
	for _, field := range fields[first : last+1] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read the processor time of a process: %w", err)
		}
		total += time.Duration(ticks) * tick
	}
	return total, nil
}
