package clouds

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github-runner/charm/secret"
)

// MaxSize is how long a clouds.yaml may be, in bytes: more than one with certificates
// in it is.
const MaxSize = 256 << 10

const (
	rightDocument = "give a clouds.yaml: a mapping with the key clouds, which maps the name of each cloud to its settings"
	rightCloud    = "give the first cloud's settings as a mapping with the key auth"
)

// Parse reads the first cloud of a clouds.yaml, by the order in the document.
// Settings that it does not know are passed over. Its error is a Fault.
func Parse(document secret.Text) (Cloud, error) {
	text := document.Reveal()
	switch {
	case strings.TrimSpace(text) == "":
		return Cloud{}, Fault{"is empty", rightDocument}
	case len(text) > MaxSize:
		return Cloud{}, Fault{"is longer than 256 KiB", rightDocument}
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return Cloud{}, Fault{"is not text", rightDocument}
	}
	first, err := firstCloud(text)
	if err != nil {
		return Cloud{}, err
	}
	return read(first)
}

// firstCloud finds the settings of the first cloud of a document.
func firstCloud(text string) (*yaml.Node, error) {
	var top yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	switch err := decoder.Decode(&top); {
	case errors.Is(err, io.EOF):
		return nil, Fault{"is empty", rightDocument}
	case err != nil:
		return nil, notYAML(text, err)
	}
	switch err := decoder.Decode(new(yaml.Node)); {
	case err == nil:
		return nil, Fault{"has more than one YAML document", rightDocument}
	case !errors.Is(err, io.EOF):
		return nil, notYAML(text, err)
	}
	// What is wrong with keys and aliases shows only now.
	if err := top.Decode(new(any)); err != nil {
		return nil, notYAML(text, err)
	}
	root := resolved(&top)
	if root.Kind != yaml.MappingNode {
		return nil, Fault{"is not a mapping", rightDocument + "; juju config takes it out of a file by =@FILE"}
	}
	clouds := valueOf(root, "clouds")
	switch {
	case clouds == nil || isNull(clouds):
		return nil, Fault{"has no clouds", rightDocument}
	case clouds.Kind != yaml.MappingNode:
		return nil, Fault{"has clouds that are not a mapping", rightDocument}
	case len(clouds.Content) == 0:
		return nil, Fault{"has no clouds", rightDocument}
	}
	first := resolved(clouds.Content[1])
	if first.Kind != yaml.MappingNode {
		return nil, Fault{"has a first cloud that is not a mapping", rightCloud}
	}
	return first, nil
}

// resolved is what a node stands for.
func resolved(node *yaml.Node) *yaml.Node {
	for {
		switch {
		case node.Kind == yaml.DocumentNode && len(node.Content) > 0:
			node = node.Content[0]
		case node.Kind == yaml.AliasNode:
			node = node.Alias
		default:
			return node
		}
	}
}

// valueOf is the value of a mapping's key; nil where there is none.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return resolved(mapping.Content[i+1])
		}
	}
	return nil
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

var (
	lineNumber = regexp.MustCompile(`line (\d+)`)
	tabIndent  = regexp.MustCompile(`(?m)^ *\t`)
)

// notYAML is the fault of a document that can't be read. The library's error may
// quote it: all that is passed on is the number of the line.
func notYAML(text string, err error) error {
	what := "is not valid YAML"
	if number := lineNumber.FindStringSubmatch(err.Error()); number != nil {
		what += ", by its line " + number[1]
	}
	if at := tabIndent.FindStringIndex(text); at != nil {
		return Fault{what, fmt.Sprintf("indent line %d with spaces instead of a tab", 1+strings.Count(text[:at[0]], "\n"))}
	}
	return Fault{what, rightDocument}
}
