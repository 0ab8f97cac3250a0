package allinone

import (
	"context"
	"fmt"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"
)

const (
	region = "RegionOne"
	domain = "default"
	// adminName is the administrator, and the project that belongs to them.
	adminName = "admin"
)

// admin returns the administrator's session.
func (s *Stack) admin(ctx context.Context) (*gophercloud.ProviderClient, error) {
	provider, err := openstack.AuthenticatedClient(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: s.at(identityPort, "/v3"), Username: adminName, Password: s.password,
		DomainID: domain, TenantName: adminName, AllowReauth: true,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot log in as the administrator: %w", err)
	}
	provider.HTTPClient.Timeout = stepTimeout
	return provider, nil
}

var where = gophercloud.EndpointOpts{Region: region}

// fillCatalog tells Keystone where the others are.
func (s *Stack) fillCatalog(ctx context.Context) error {
	provider, err := s.admin(ctx)
	if err != nil {
		return err
	}
	identity, err := openstack.NewIdentityV3(provider, where)
	if err != nil {
		return fmt.Errorf("cannot fill the catalog: %w", err)
	}
	for _, one := range []struct {
		name, kind, url string
	}{
		{"placement", "placement", s.at(placementPort, "")},
		{"nova", "compute", s.at(computePort, "/v2.1")},
		{"neutron", "network", s.at(networkPort, "")},
		{"glance", "image", s.at(imagePort, "")},
	} {
		service, err := services.Create(ctx, identity, services.CreateOpts{Type: one.kind, Extra: map[string]any{"name": one.name}}).Extract()
		if err != nil {
			return fmt.Errorf("cannot fill the catalog: %w", err)
		}
		if _, err := endpoints.Create(ctx, identity, endpoints.CreateOpts{
			Availability: gophercloud.AvailabilityPublic, Name: one.name, Region: region, URL: one.url, ServiceID: service.ID,
		}).Extract(); err != nil {
			return fmt.Errorf("cannot fill the catalog: %w", err)
		}
	}
	return nil
}
