package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// kernelRecord keeps what the kernel's settings were before the machine's first
// lab; the last one restores them. A restart of the machine forgets both.
const kernelRecord = "/run/github-runner-lab.json"

// kernelSetting is a number that real labs need to be at least so large.
type kernelSetting struct {
	path  string
	least int
}

func kernelSettings() []kernelSetting {
	return []kernelSetting{
		// Runners' packets go to the GitHub stand-in through the machine.
		{"/proc/sys/net/ipv4/ip_forward", 1},
		// A container's systemd and its services take nine. All containers share
		// what their daemon's user has, usually 128; LXD's manual advises a
		// million.
		{"/proc/sys/fs/inotify/max_user_instances", 8192},
	}
}

// raise makes the settings what labs need. With the machine's lock held.
func raise(settings []kernelSetting, record string) error {
	before := make(map[string]int)
	for _, s := range settings {
		value, err := s.value()
		if err != nil {
			return fmt.Errorf("cannot read a kernel setting: %w", err)
		}
		before[s.path] = value
	}
	if _, err := os.Stat(record); errors.Is(err, fs.ErrNotExist) {
		data, err := json.Marshal(before)
		if err != nil {
			return fmt.Errorf("cannot record the kernel's settings: %w", err)
		}
		if err := writeFile(record, data); err != nil {
			return fmt.Errorf("cannot record the kernel's settings: %w", err)
		}
	}
	for _, s := range settings {
		if before[s.path] >= s.least {
			continue
		}
		if err := s.set(s.least); err != nil {
			return fmt.Errorf("cannot change a kernel setting: %w", err)
		}
	}
	return nil
}

// restore makes the settings what they were before the first lab and says which
// it changed. With the machine's lock held, when no lab is left.
func restore(settings []kernelSetting, record string) (restored []string, err error) {
	data, err := os.ReadFile(record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var before map[string]int
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot restore the kernel's settings: %w", err)
	}
	for _, s := range settings {
		value, err := s.value()
		if err != nil {
			return restored, fmt.Errorf("cannot restore the kernel's settings: %w", err)
		}
		old, recorded := before[s.path]
		if !recorded || old == value {
			continue
		}
		if err := s.set(old); err != nil {
			return restored, fmt.Errorf("cannot restore the kernel's settings: %w", err)
		}
		restored = append(restored, fmt.Sprintf("the change of %s: %d again", s.path, old))
	}
	if err := os.Remove(record); err != nil {
		return restored, fmt.Errorf("cannot restore the kernel's settings: %w", err)
	}
	return restored, nil
}

func (s kernelSetting) value() (int, error) {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

func (s kernelSetting) set(value int) error {
	return os.WriteFile(s.path, []byte(strconv.Itoa(value)+"\n"), 0o644)
}
