package juju

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github-runner/charm/secret"
)

// Status is a unit's workload status.
type Status string

// The statuses that a charm may set.
const (
	Active      Status = "active"
	Maintenance Status = "maintenance"
	Waiting     Status = "waiting"
	Blocked     Status = "blocked"
)

// maxStatusMessage keeps 'juju status' readable.
const maxStatusMessage = 400

// Config returns the application's options: string, bool, int64 or float64 each.
// An option of type float with a whole value comes as int64. Options without a
// value are absent. An option of type secret has its URI as the value.
func (t *Tools) Config(ctx context.Context) (map[string]any, error) {
	options := map[string]any{}
	if err := t.runJSON(ctx, &options, "config-get"); err != nil {
		return nil, err
	}
	if options == nil { // the tool answered null
		return map[string]any{}, nil
	}
	for name, value := range options {
		if value == nil {
			delete(options, name)
			continue
		}
		number, ok := value.(json.Number)
		if !ok {
			continue
		}
		n, err := plainNumber(number)
		if err != nil {
			return nil, fmt.Errorf("cannot read option %q: %w", name, err)
		}
		options[name] = n
	}
	return options, nil
}

func plainNumber(number json.Number) (any, error) {
	if n, err := number.Int64(); err == nil {
		return n, nil
	}
	f, err := number.Float64()
	if err != nil {
		return nil, fmt.Errorf("%q is no number that fits", shorten(number.String(), 40))
	}
	return f, nil
}

// SetStatus sets the unit's workload status. Juju stores it at once. The message
// becomes one line of bounded length.
func (t *Tools) SetStatus(ctx context.Context, status Status, message string) error {
	_, err := t.run(ctx, "status-set", "--", string(status), oneLine(message, maxStatusMessage))
	return err
}

// Status returns the unit's workload status and its message. Besides the four
// that a charm sets, Juju's own are possible, such as "unknown".
func (t *Tools) Status(ctx context.Context) (Status, string, error) {
	var answer struct {
		Status  Status `json:"status"`
		Message string `json:"message"`
	}
	if err := t.runJSON(ctx, &answer, "status-get", "--include-data"); err != nil {
		return "", "", err
	}
	return answer.Status, answer.Message, nil
}

// SetApplicationVersion sets what 'juju status' shows as the version of the
// workload.
func (t *Tools) SetApplicationVersion(ctx context.Context, version string) error {
	_, err := t.run(ctx, "application-version-set", "--", oneLine(version, 64))
	return err
}

// RelationIDs returns the ids of the relations at an endpoint, such as
// "debug-ssh:3".
func (t *Tools) RelationIDs(ctx context.Context, endpoint string) ([]string, error) {
	var ids []string
	err := t.runJSON(ctx, &ids, "relation-ids", endpoint)
	return ids, err
}

// RelationUnits returns the remote units of a relation.
func (t *Tools) RelationUnits(ctx context.Context, id string) ([]string, error) {
	var units []string
	err := t.runJSON(ctx, &units, "relation-list", "-r", id)
	return units, err
}

// RelationUnitData returns what a unit wrote into a relation.
func (t *Tools) RelationUnitData(ctx context.Context, id, unit string) (map[string]string, error) {
	var data map[string]string
	err := t.runJSON(ctx, &data, "relation-get", "-r", id, "-", unit)
	return data, err
}

// RelationAppData returns what an application wrote into a relation.
func (t *Tools) RelationAppData(ctx context.Context, id, app string) (map[string]string, error) {
	var data map[string]string
	err := t.runJSON(ctx, &data, "relation-get", "--app", "-r", id, "-", app)
	return data, err
}

// SetRelationData writes into a relation what the remote units are to read of this
// one; an empty text takes a key away. Juju shows it once the hook has ended well.
func (t *Tools) SetRelationData(ctx context.Context, id string, data map[string]secret.Text) error {
	plain := make(map[string]string, len(data))
	for key, text := range data {
		plain[key] = text.Reveal()
	}
	// JSON is YAML, which the tool reads.
	settings, err := json.Marshal(plain)
	if err != nil {
		return fmt.Errorf("cannot write into the relation %s: %w", id, err)
	}
	_, err = t.feed(ctx, bytes.NewReader(settings), "relation-set", "-r", id, "--file", "-")
	return err
}

// Dying reports whether a unit of the application is being removed.
func (t *Tools) Dying(ctx context.Context, unit string) (bool, error) {
	var answer struct {
		Units map[string]struct {
			Status string `json:"status"`
		} `json:"units"`
	}
	if err := t.runJSON(ctx, &answer, "goal-state"); err != nil {
		return false, err
	}
	return answer.Units[unit].Status == "dying", nil
}

// StorageIDs returns the ids of the attached storage of a name that
// metadata.yaml declares, such as "runner/0".
func (t *Tools) StorageIDs(ctx context.Context, name string) ([]string, error) {
	var ids []string
	err := t.runJSON(ctx, &ids, "storage-list", name)
	return ids, err
}

// StorageLocation returns where a storage is mounted.
func (t *Tools) StorageLocation(ctx context.Context, id string) (string, error) {
	var answer struct {
		Location string `json:"location"`
	}
	if err := t.runJSON(ctx, &answer, "storage-get", "-s", id); err != nil {
		return "", err
	}
	return answer.Location, nil
}
