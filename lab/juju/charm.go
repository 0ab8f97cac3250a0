package juju

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github-runner/lab/charmfile"
)

// charm is what the model knows of a charm, from the files at its top.
type charm struct {
	Name    string                 `json:"name"`
	Bases   []string               `json:"bases"`
	Storage map[string]storageSpec `json:"storage"`
	Options map[string]option      `json:"options"`
	Actions map[string]actionSpec  `json:"actions"`
	// Endpoints are where relations can be made, by name.
	Endpoints map[string]endpoint `json:"endpoints"`
}

// option is one option of config.yaml.
type option struct {
	Type        string `json:"type" yaml:"type"`
	Default     any    `json:"default" yaml:"default"`
	Description string `json:"description" yaml:"description"`
}

// endpointSpec is an endpoint as metadata.yaml declares it. How many relations it
// may have and whether it needs one bind nobody here.
type endpointSpec struct {
	Interface string `yaml:"interface"`
}

// UnmarshalYAML also takes the short form, the interface's name alone.
func (e *endpointSpec) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return node.Decode(&e.Interface)
	}
	type plain endpointSpec
	return node.Decode((*plain)(e))
}

// storageSpec is one storage of metadata.yaml. Max is -1 where there is no
// limit.
type storageSpec struct {
	Type string `json:"type"`
	Min  int    `json:"min"`
	Max  int    `json:"max"`
}

// readCharm reads an unpacked charm.
func readCharm(dir string) (charm, error) {
	var metadata struct {
		Name     string                  `yaml:"name"`
		Summary  string                  `yaml:"summary"`
		Peers    map[string]endpointSpec `yaml:"peers"`
		Provides map[string]endpointSpec `yaml:"provides"`
		Requires map[string]endpointSpec `yaml:"requires"`
		Storage  map[string]struct {
			Type     string `yaml:"type"`
			Multiple struct {
				Range string `yaml:"range"`
			} `yaml:"multiple"`
		} `yaml:"storage"`
	}
	var manifest struct {
		Bases []struct {
			Name    string `yaml:"name"`
			Channel string `yaml:"channel"`
		} `yaml:"bases"`
	}
	var config struct {
		Options map[string]option `yaml:"options"`
	}
	var actions map[string]map[string]any
	problems := errors.Join(
		readYAML(dir, "metadata.yaml", true, &metadata),
		readYAML(dir, "manifest.yaml", true, &manifest),
		readYAML(dir, "config.yaml", false, &config),
		readYAML(dir, "actions.yaml", false, &actions))
	if problems != nil {
		return charm{}, problems
	}
	if metadata.Name == "" || metadata.Summary == "" {
		return charm{}, errors.New("metadata.yaml: name and summary are required")
	}
	if len(manifest.Bases) == 0 {
		return charm{}, errors.New("charm metadata without bases in manifest not valid")
	}
	c := charm{
		Name:    metadata.Name,
		Storage: map[string]storageSpec{},
		Options: config.Options,
		Actions: map[string]actionSpec{},

		Endpoints: map[string]endpoint{},
	}
	for role, specs := range map[string]map[string]endpointSpec{rolePeer: metadata.Peers, roleProvider: metadata.Provides, roleRequirer: metadata.Requires} {
		for name, spec := range specs {
			if spec.Interface == "" {
				return charm{}, fmt.Errorf("metadata.yaml: relation %q has no interface", name)
			}
			if c.Endpoints[name].Role != "" {
				return charm{}, fmt.Errorf("metadata.yaml: relation %q is declared twice", name)
			}
			c.Endpoints[name] = endpoint{Role: role, Interface: spec.Interface}
		}
	}
	for _, base := range manifest.Bases {
		c.Bases = append(c.Bases, base.Name+"@"+base.Channel)
	}
	for name, s := range metadata.Storage {
		least, most, err := storageRange(s.Multiple.Range)
		if err != nil {
			return charm{}, fmt.Errorf("metadata.yaml: storage %q: %w", name, err)
		}
		c.Storage[name] = storageSpec{Type: s.Type, Min: least, Max: most}
	}
	for name, o := range c.Options {
		value, err := o.fit(name, o.Default)
		if err != nil {
			return charm{}, fmt.Errorf("config.yaml: default: %w", err)
		}
		o.Default = value
		c.Options[name] = o
	}
	for name, raw := range actions {
		spec, err := newActionSpec(raw)
		if err != nil {
			return charm{}, fmt.Errorf("actions.yaml: action %q: %w", name, err)
		}
		c.Actions[name] = spec
	}
	return c, nil
}

func readYAML(dir, name string, required bool, into any) error {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the charm: %w", err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		return fmt.Errorf("cannot read the charm's %s: %w", name, err)
	}
	return nil
}

// storageRange reads a "range" such as "2", "0-1" or "1+"; without one there is
// exactly one storage.
func storageRange(text string) (least, most int, err error) {
	if text == "" {
		return 1, 1, nil
	}
	low, high, isRange := strings.Cut(text, "-")
	most = -1
	if rest, open := strings.CutSuffix(low, "+"); open {
		low = rest
	} else if !isRange {
		high = low
	}
	if least, err = strconv.Atoi(low); err != nil {
		return 0, 0, fmt.Errorf("range %q is not understood", text)
	}
	if high != "" {
		if most, err = strconv.Atoi(high); err != nil {
			return 0, 0, fmt.Errorf("range %q is not understood", text)
		}
	}
	return least, most, nil
}

// unpack unpacks a .charm file the way a unit has it in this lab: the default of
// its option github-url leads to the lab's GitHub, so that a charm whose option
// was reset stays inside, and that of image-interval to no images but those that
// are asked for, because the lab has no archive of packages.
func unpack(charmFile, dir, gitHubURL string) error {
	for _, stale := range []string{"hooks", "actions"} {
		if err := os.RemoveAll(filepath.Join(dir, stale)); err != nil {
			return fmt.Errorf("cannot replace the charm: %w", err)
		}
	}
	if err := charmfile.Unpack(charmFile, dir); err != nil {
		return err
	}
	if gitHubURL == "" {
		return nil
	}
	for _, option := range []struct{ name, value string }{{"github-url", gitHubURL}, {"image-interval", "0"}} {
		if err := replaceDefault(filepath.Join(dir, "config.yaml"), option.name, option.value); err != nil {
			return err
		}
	}
	return nil
}

// replaceDefault replaces an option's default in config.yaml; an option that is
// not there stays away.
func replaceDefault(path, name, value string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the charm: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return fmt.Errorf("cannot read the charm's config.yaml: %w", err)
	}
	if len(document.Content) == 0 {
		return nil
	}
	found := mapValue(mapValue(mapValue(document.Content[0], "options"), name), "default")
	if found == nil {
		return nil
	}
	// Its type stays.
	found.Value = value
	content, err = yaml.Marshal(&document)
	if err != nil {
		return fmt.Errorf("cannot change the charm's config.yaml: %w", err)
	}
	return replaceFile(path, content, 0o644)
}

// mapValue is the value of a key; nil when node is no map or lacks it.
func mapValue(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// replaceFile replaces a file in one step.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	err = errors.Join(err, next.Chmod(mode), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		os.Remove(next.Name())
	}
	return err
}
