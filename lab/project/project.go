// Package project is an OpenStack project as its users see it, real or emulated, for
// the lab to look at and to meddle with.
package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	parser "github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"go.yaml.in/yaml/v3"
)

// Project is a session with a project of a cloud.
type Project struct {
	Compute, Network, Image *gophercloud.ServiceClient
}

// Open authenticates by the first cloud of a clouds.yaml.
func Open(ctx context.Context, cloudsYAML []byte) (*Project, error) {
	provider, where, err := authenticate(ctx, cloudsYAML)
	if err != nil {
		return nil, err
	}
	var p Project
	var errs [3]error
	p.Compute, errs[0] = openstack.NewComputeV2(provider, where)
	p.Network, errs[1] = openstack.NewNetworkV2(provider, where)
	p.Image, errs[2] = openstack.NewImageV2(provider, where)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("cannot find the cloud's services: %w", err)
	}
	return &p, nil
}

// ID is the project's ID, as the cloud told it with the session's token.
func (p *Project) ID() (string, error) {
	answer, known := p.Compute.GetAuthResult().(interface {
		ExtractProject() (*tokens.Project, error)
	})
	if !known {
		return "", errors.New("cannot tell the ID of the project: the cloud did not say it")
	}
	found, err := answer.ExtractProject()
	if err != nil {
		return "", fmt.Errorf("cannot tell the ID of the project: %w", err)
	}
	if found == nil || found.ID == "" {
		return "", errors.New("cannot tell the ID of the project: the session is in none")
	}
	return found.ID, nil
}

// authenticate opens a session by the first cloud of a clouds.yaml, and tells where its
// services are.
func authenticate(ctx context.Context, cloudsYAML []byte) (*gophercloud.ProviderClient, gophercloud.EndpointOpts, error) {
	name, err := firstCloud(cloudsYAML)
	if err != nil {
		return nil, gophercloud.EndpointOpts{}, err
	}
	auth, where, tls, err := parser.Parse(parser.WithCloudsYAML(bytes.NewReader(cloudsYAML)), parser.WithCloudName(name))
	if err != nil {
		// What is wrong quotes what is there, which may be a password.
		return nil, where, fmt.Errorf("cannot read the cloud %q of clouds.yaml: a field or a certificate of it is not valid", name)
	}
	auth.AllowReauth = true
	provider, err := config.NewProviderClient(ctx, auth, config.WithTLSConfig(tls))
	if err != nil {
		return nil, where, fmt.Errorf("cannot reach the cloud %q: %w", name, err)
	}
	return provider, where, nil
}

// firstCloud is the name of the first cloud in a clouds.yaml.
func firstCloud(content []byte) (string, error) {
	var document struct {
		Clouds yaml.Node `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(content, &document); err != nil {
		return "", errors.New("cannot read clouds.yaml: it is no YAML") // its text holds secrets
	}
	if document.Clouds.Kind != yaml.MappingNode || len(document.Clouds.Content) == 0 {
		return "", errors.New("cannot read clouds.yaml: it names no cloud")
	}
	return document.Clouds.Content[0].Value, nil
}

// one is the only thing of a name among those of a kind; get returns its name and ID.
func one[T any](kind, name string, all []T, get func(T) (name, id string)) (T, error) {
	fitting := slices.DeleteFunc(slices.Clone(all), func(thing T) bool {
		itsName, id := get(thing)
		return name != itsName && name != id
	})
	if len(fitting) != 1 {
		var none T
		return none, fmt.Errorf("%d %s are called %q, not one", len(fitting), kind, name)
	}
	return fitting[0], nil
}
