package state

import (
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
)

type declaredOption struct {
	Type        string
	Default     any
	Description string
}

var allOptions = []string{
	optionPath, optionToken, optionTokenSecret, optionAppClient, optionAppInstallation, optionAppKey, optionGroup, optionGitHubURL, optionLabels, optionVirtualMachines,
	optionReconcileInterval, optionBaseImage, optionImageSource, optionImageInterval, optionImagePackages, optionImageScript, optionInstanceType, optionStorage, optionCPU, optionMemory,
	optionDisk, optionDenylist, optionDockerhubMirror, optionUseAproxy, optionAproxyExclude,
	optionAproxyPorts, optionClouds, optionFlavor,
	optionCloudsSecret, optionNetwork, optionImage, optionProxyCommand, optionManagerAddress, optionImageBuildUnit, optionPolicyURL, optionPolicyToken, optionTestMode, optionExternal,
}

func readDeclaredOptions(t testing.TB) map[string]declaredOption {
	t.Helper()
	content, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Options map[string]declaredOption }
	if err := yaml.Unmarshal(content, &config); err != nil {
		t.Fatal(err)
	}
	return config.Options
}

func TestConfigYAMLIsInStep(t *testing.T) {
	declared := readDeclaredOptions(t)
	for _, name := range allOptions {
		option, ok := declared[name]
		if !ok {
			t.Errorf("config.yaml has no option %s", name)
			continue
		}
		types := map[string]string{"string": "string", "int": "int", "boolean": "bool"}
		if got := typeName(defaultOf(name)); types[option.Type] != got {
			t.Errorf("option %s has type %q in config.yaml and %s here", name, option.Type, got)
		}
		// A string without a default is the same as one with an empty one.
		if option.Default == nil && option.Type == "string" {
			option.Default = ""
		}
		// And so is a number without one, and 0.
		if option.Default == nil && option.Type == "int" {
			option.Default = 0
		}
		if option.Default != defaultOf(name) {
			t.Errorf("option %s has default %v in config.yaml and %v here", name, option.Default, defaultOf(name))
		}
		if option.Description == "" {
			t.Errorf("option %s has no description", name)
		}
	}
	if len(declared) != len(allOptions) {
		t.Errorf("config.yaml has %d options, %d are known here", len(declared), len(allOptions))
	}
}

func typeName(value any) string {
	switch value.(type) {
	case int:
		return "int"
	case bool:
		return "bool"
	}
	return "string"
}

// With the defaults of config.yaml as Juju hands them out, nothing is missing
// but what has no default.
func TestDefaultsOfConfigYAMLAreValid(t *testing.T) {
	config := map[string]any{"path": "acme/widgets", "token": "ghp_x"}
	for name, option := range readDeclaredOptions(t) {
		if _, given := config[name]; !given && option.Default != nil {
			config[name] = option.Default
		}
	}
	withDefaults := mustNew(t, sourceWith(config))
	withoutDefaults := mustNew(t, sourceWith(map[string]any{"path": "acme/widgets", "token": "ghp_x"}))
	if diff := diffStates(withoutDefaults, withDefaults); diff != "" {
		t.Errorf("the defaults of config.yaml give another state than unset options:\n%s", diff)
	}
}
