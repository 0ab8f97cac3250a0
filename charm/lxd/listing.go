package lxd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/canonical/lxd/shared/api"
)

// listURL asks for all instances with their configuration. The host is nobody's:
// the client dials LXD's socket whatever it says.
const listURL = "http://lxd/1.0/instances?recursion=1"

// all returns every instance, whoever's, without the user-data. LXD's answer has
// that twice for each, 25 MB for a thousand runners: it is read instance by
// instance, because the agent stays in memory, and never as a whole. The client's
// own call for it would even write it down once more, for a log that nobody reads.
func (s server) all() ([]api.Instance, error) {
	request, err := http.NewRequestWithContext(s.ctx, http.MethodGet, listURL, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.DoHTTP(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, refusal(response)
	}
	var instances []api.Instance
	err = eachOf(json.NewDecoder(response.Body), "metadata", func(decoder *json.Decoder) error {
		instance, err := decodeInstance(decoder)
		instances = append(instances, instance)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the list: %w", err)
	}
	return instances, nil
}

// refusal is the error that LXD gave instead of an answer.
func refusal(response *http.Response) error {
	var answer api.Response
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&answer); err != nil || answer.Error == "" {
		return api.NewStatusError(response.StatusCode, response.Status)
	}
	return api.NewStatusError(response.StatusCode, answer.Error)
}

// eachOf reads a JSON object and calls do for each element of the list that one
// of its keys has; null is an empty list.
func eachOf(decoder *json.Decoder, key string, do func(*json.Decoder) error) error {
	if err := expect(decoder, json.Delim('{')); err != nil {
		return err
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		if name != key {
			var passed json.RawMessage
			if err := decoder.Decode(&passed); err != nil {
				return err
			}
			continue
		}
		if err := elements(decoder, do); err != nil {
			return err
		}
	}
	return expect(decoder, json.Delim('}'))
}

func elements(decoder *json.Decoder, do func(*json.Decoder) error) error {
	token, err := decoder.Token()
	if err != nil || token == nil {
		return err
	}
	if token != json.Delim('[') {
		return fmt.Errorf("there is %v where a list should be", token)
	}
	for decoder.More() {
		if err := do(decoder); err != nil {
			return err
		}
	}
	return expect(decoder, json.Delim(']'))
}

func expect(decoder *json.Decoder, want json.Delim) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("there is %v where %v should be", token, want)
	}
	return nil
}

// decodeInstance reads what is needed of an instance. What profiles add is left
// out.
func decodeInstance(decoder *json.Decoder) (api.Instance, error) {
	var seen struct {
		Name       string            `json:"name"`
		Type       string            `json:"type"`
		Ephemeral  bool              `json:"ephemeral"`
		Profiles   []string          `json:"profiles"`
		StatusCode api.StatusCode    `json:"status_code"`
		CreatedAt  time.Time         `json:"created_at"`
		Config     map[string]string `json:"config"`
	}
	if err := decoder.Decode(&seen); err != nil {
		return api.Instance{}, err
	}
	delete(seen.Config, keyUserData)
	return api.Instance{
		Name: seen.Name, Type: seen.Type, Ephemeral: seen.Ephemeral, Profiles: seen.Profiles,
		StatusCode: seen.StatusCode, CreatedAt: seen.CreatedAt, Config: seen.Config,
	}, nil
}
