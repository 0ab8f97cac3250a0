package agent

import (
	"encoding/json"
	"fmt"

	"github-runner/charm/unitdir"
)

// basisOf is what a fleet is built from, of all that the unit remembers: where it
// changes, another fleet is built.
func basisOf(past unitdir.State) (string, error) {
	past.Generation = 0
	past.Seen = nil
	past.Setbacks = nil
	past.Stopping = false
	past.ImageTrouble = unitdir.ImageTrouble{}
	encoded, err := json.Marshal(past)
	if err != nil {
		return "", fmt.Errorf("cannot compare the unit's state: %w", err)
	}
	return string(encoded), nil
}
