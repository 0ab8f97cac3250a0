package state

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// imageLabels are the labels of a unit that is integrated, without those that it has
// anyway.
func imageLabels(t *testing.T, s CharmState) string {
	t.Helper()
	rest, found := strings.CutPrefix(strings.Join(s.Labels, " "), "self-hosted linux x64 github-runner")
	if !found {
		t.Errorf("labels: %q", s.Labels)
	}
	return strings.TrimSpace(rest)
}

func TestImageRelation(t *testing.T) {
	type units = map[string]map[string]string
	for name, test := range map[string]struct {
		units  units
		labels string
		want   ImageRelation
	}{
		"none":                   {nil, "jammy gpu", ImageRelation{}},
		"no unit yet":            {units{}, "jammy gpu", ImageRelation{Integrated: true}},
		"nothing sent yet":       {units{"ours/0": {"ingress-address": "192.0.2.1"}}, "jammy gpu", ImageRelation{Integrated: true, Application: "ours"}},
		"no id":                  {units{"ours/0": {"tags": "big"}}, "jammy gpu", ImageRelation{Integrated: true, Application: "ours"}},
		"an alias":               {units{"ours/0": {"id": "ubuntu/22.04"}}, "jammy gpu", ImageRelation{Integrated: true, Application: "ours", ID: "ubuntu/22.04"}},
		"tags that are known":    {units{"ours/0": {"id": "a", "tags": "x64, GPU,,Self-Hosted"}}, "jammy gpu", ImageRelation{Integrated: true, Application: "ours", ID: "a"}},
		"tags":                   {units{"ours/0": {"id": "a", "tags": "Jammy,big,BIG"}}, "jammy gpu big", ImageRelation{Integrated: true, Application: "ours", ID: "a"}},
		"another release":        {units{"ours/0": {"id": "a", "tags": "noble,24.04"}}, "gpu noble 24.04", ImageRelation{Integrated: true, Application: "ours", ID: "a"}},
		"the release's number":   {units{"ours/0": {"id": "a", "tags": "22.04"}}, "jammy gpu 22.04", ImageRelation{Integrated: true, Application: "ours", ID: "a"}},
		"the first one":          {units{"ours/10": {"id": "ten"}, "ours/9": {"id": "nine", "tags": "big"}, "ours/1": {}}, "jammy gpu big", ImageRelation{Integrated: true, Application: "ours", ID: "nine"}},
		"the first application":  {units{"a/1": {"id": "one"}, "b/0": {"id": "nought"}}, "jammy gpu", ImageRelation{Integrated: true, Application: "a", ID: "one"}},
		"the one with something": {units{"a/1": {}, "b/0": {"id": "nought"}}, "jammy gpu", ImageRelation{Integrated: true, Application: "b", ID: "nought"}},
	} {
		t.Run(name, func(t *testing.T) {
			source := sourceWith(map[string]any{"labels": "gpu"})
			source.Image = test.units
			s := mustNew(t, source)
			if diff := cmp.Diff(test.want, s.ImageRelation); diff != "" {
				t.Errorf("the image (-want +got):\n%s", diff)
			}
			if got := imageLabels(t, s); got != test.labels {
				t.Errorf("labels %q, want %q", got, test.labels)
			}
			if len(s.Warnings) > 0 {
				t.Errorf("warnings: %q", s.Warnings)
			}
			if s.MakesImages() != (test.units == nil) {
				t.Error("the unit makes images by itself beside a relation, or none without")
			}
		})
	}
}

func TestImageThatCannotBeUsed(t *testing.T) {
	many := func(n int) string {
		var tags []string
		for i := range n {
			tags = append(tags, fmt.Sprint("tag", i))
		}
		return strings.Join(tags, ",")
	}
	for name, test := range map[string]struct {
		data map[string]string
		want string
	}{
		"blank":           {map[string]string{"id": " "}, `id " " is no image's`},
		"an option":       {map[string]string{"id": "-f"}, `id "-f" is no image's`},
		"a command":       {map[string]string{"id": "a;reboot"}, `id "a;reboot" is no image's`},
		"two lines":       {map[string]string{"id": "a\nb"}, `id "a\nb" is no image's`},
		"an alias's path": {map[string]string{"id": "../x"}, `id "../x" is no image's`},
		"of a remote":     {map[string]string{"id": "ubuntu:22.04"}, `id "ubuntu:22.04" is no image's`},
		"long":            {map[string]string{"id": strings.Repeat("a", 129)}, "(129 characters) is no image's: it has at most 128"},
		"tags":            {map[string]string{"id": "a", "tags": "big,a b,c\nd"}, `tags "a b", "c\nd" can be no labels`},
		"a long tag":      {map[string]string{"id": "a", "tags": strings.Repeat("a", 257)}, "(257 characters) can be no labels"},
		"a tag too many":  {map[string]string{"id": "a", "tags": many(95)}, "tags are too many (95): beside the other labels GitHub takes 94"},
	} {
		t.Run(name, func(t *testing.T) {
			source := sourceWith(map[string]any{"labels": "gpu"})
			source.Image = map[string]map[string]string{"ours/0": test.data}
			alone := mustNew(t, source)
			if want := (ImageRelation{Integrated: true, Application: "ours", Refused: true}); alone.ImageRelation != want {
				t.Errorf("the image is %+v, want %+v", alone.ImageRelation, want)
			}
			source.Image["ours/1"] = map[string]string{"id": "good", "tags": many(94)}
			hidden := mustNew(t, source)
			if want := (ImageRelation{Integrated: true, Application: "ours", ID: "good"}); hidden.ImageRelation != want {
				t.Errorf("beside a good one the image is %+v, want %+v", hidden.ImageRelation, want)
			}
			for _, s := range []CharmState{alone, hidden} {
				if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], `image: unit "ours/0" is left out: `) || !strings.Contains(s.Warnings[0], test.want) {
					t.Errorf("warnings %q, want %q", s.Warnings, test.want)
				}
				if decoded, err := Decode(mustEncode(t, s)); err != nil || diffStates(s, decoded) != "" {
					t.Errorf("the state changes by being stored: %v", err)
				}
			}
		})
	}
}
