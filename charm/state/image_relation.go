package state

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github-runner/charm/pattern"
)

// ImageRelation is what the relation image says of the runners' image. The zero value
// is that of a unit that is in no such relation.
type ImageRelation struct {
	// Integrated is set where there is the relation: runners start from its image
	// alone.
	Integrated bool
	// Application is the one that sends the image; empty while none of its units is
	// in the relation.
	Application string
	// ID is the image as the cloud knows it; empty where none that can be used was
	// sent.
	ID string
	// Refused is set where no image that can be used was sent, but one that can't:
	// the state's Warnings say why.
	Refused bool
}

// MakesImages reports whether the runners are to start from images that the unit makes
// by itself.
func (s CharmState) MakesImages() bool {
	return s.ImageLife > 0 && !s.ImageRelation.Integrated
}

// The keys of an image's data, as the relation's interface has them.
const (
	imageIDKey   = "id"
	imageTagsKey = "tags"
)

// imageID holds what Glance and LXD call images by, and nothing that means more in
// a command.
var imageID = pattern.UpTo(128, `^[A-Za-z0-9][A-Za-z0-9._+/-]*$`)

// maxApplication is more than the name of any application has.
const maxApplication = 200

// imageRelation reads what the units of the image relation sent: the first one with an
// image counts. One that sent nonsense gives a warning and hides no other. So many
// labels are configured besides the image's tags.
func (r *reader) imageRelation(units map[string]map[string]string, configured int) (relation ImageRelation, tags []string) {
	if units == nil {
		return ImageRelation{}, nil
	}
	relation.Integrated = true
	names := slices.SortedFunc(maps.Keys(units), byNumber)
	if len(names) > 0 {
		relation.Application = senderOf(names[0])
	}
	for _, unit := range names {
		if units[unit][imageIDKey] == "" {
			continue // it has yet to send one
		}
		id, given, problem := parseImage(units[unit], configured)
		switch {
		case problem != "":
			r.warnings = append(r.warnings, fmt.Sprintf("image: unit %s is left out: %s", quote(unit), problem))
			relation.Refused = true
		case relation.ID == "":
			relation.Application, relation.ID, tags = senderOf(unit), id, given
		}
	}
	relation.Refused = relation.Refused && relation.ID == ""
	return relation, tags
}

// senderOf is the application of a remote unit, where it has a name to be shown.
func senderOf(unit string) string {
	application, _, _ := strings.Cut(unit, "/")
	if !isLine(application, maxApplication) {
		return ""
	}
	return application
}

// byNumber orders names of units by application and number.
func byNumber(a, b string) int {
	appA, numberA, _ := strings.Cut(a, "/")
	appB, numberB, _ := strings.Cut(b, "/")
	return cmp.Or(cmp.Compare(appA, appB), cmp.Compare(len(numberA), len(numberB)), cmp.Compare(numberA, numberB))
}

// parseImage returns the image that a unit sent and its tags, or what is wrong with
// them.
func parseImage(data map[string]string, configured int) (id string, tags []string, problem string) {
	id = data[imageIDKey]
	if !imageID.Matches(id) {
		return "", nil, "id " + quote(id) + " is no image's: it has at most 128 letters, digits and . _ + / -"
	}
	tags, bad := parseLabels(data[imageTagsKey])
	if len(bad) > 0 {
		return "", nil, "tags " + quoteAll(bad) + " can be no labels: they have letters, digits and - _ . + : / @ = # ~, at most 256 each"
	}
	if most := maxLabels - ownLabels - configured; len(tags) > most {
		return "", nil, fmt.Sprintf("tags are too many (%d): beside the other labels GitHub takes %d", len(tags), most)
	}
	return id, tags, ""
}

func (i ImageRelation) isValid() bool {
	if !i.Integrated {
		return i == ImageRelation{}
	}
	named := i.ID == "" || imageID.Matches(i.ID) && !i.Refused
	return named && (i.Application == "" || isLine(i.Application, maxApplication))
}
