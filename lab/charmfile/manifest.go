package charmfile

import (
	"debug/elf"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Architecture returns Juju's name for the architecture that a program is for.
// A program that needs a dynamic loader is an error: it would not run on every
// base.
func Architecture(binary string) (string, error) {
	file, err := elf.Open(binary)
	if err != nil {
		return "", fmt.Errorf("cannot use %s for the charm: %w", binary, err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return "", fmt.Errorf("cannot use %s for the charm: it is not static; build it with CGO_ENABLED=0", binary)
		}
	}
	switch file.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("cannot use %s for the charm: it is for %s, not for amd64 or arm64", binary, file.Machine)
}

// manifest is the part of manifest.yaml that Juju reads.
type manifest struct {
	Bases []base `yaml:"bases"`
}

type base struct {
	Name          string   `yaml:"name"`
	Channel       channel  `yaml:"channel"`
	Architectures []string `yaml:"architectures"`
}

// channel is written with quotes: 22.04 would be a number.
type channel string

// MarshalYAML implements yaml.Marshaler.
func (c channel) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: string(c)}, nil
}

// manifestFor returns the manifest.yaml with the bases that charmcraft.yaml
// names for an architecture.
func manifestFor(charmcraft, arch string) ([]byte, error) {
	platforms, err := platformsOf(charmcraft)
	if err != nil {
		return nil, fmt.Errorf("cannot read the platforms of %s: %w", charmcraft, err)
	}
	var m manifest
	for _, platform := range platforms {
		if platform.arch == arch {
			m.Bases = append(m.Bases, base{platform.name, channel(platform.channel), []string{arch}})
		}
	}
	if len(m.Bases) == 0 {
		return nil, fmt.Errorf("cannot pack for %s: %s names no platform of this architecture", arch, charmcraft)
	}
	return yaml.Marshal(m)
}

// platform is an entry such as "ubuntu@22.04:amd64".
type platform struct {
	name, channel, arch string
}

func platformsOf(charmcraft string) ([]platform, error) {
	content, err := os.ReadFile(charmcraft)
	if err != nil {
		return nil, err
	}
	// As a node, for the order of the file.
	var document struct {
		Platforms yaml.Node `yaml:"platforms"`
	}
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	var platforms []platform
	for i := 0; i+1 < len(document.Platforms.Content); i += 2 {
		text := document.Platforms.Content[i].Value
		name, rest, hasChannel := strings.Cut(text, "@")
		channel, arch, hasArch := strings.Cut(rest, ":")
		if !hasChannel || !hasArch {
			return nil, fmt.Errorf("platform %q is not of the form ubuntu@22.04:amd64", text)
		}
		platforms = append(platforms, platform{name, channel, arch})
	}
	return platforms, nil
}
