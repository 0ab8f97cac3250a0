package openstack

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/utils"
)

// lastMinor is the last microversion of Nova, after 2, that this package
// understands: all that it needs is there from 2.1 on.
const lastMinor = 90

// microversion is the last one that both this package and Nova understand.
func microversion(ctx context.Context, compute *gophercloud.ServiceClient) (string, error) {
	base, err := utils.BaseVersionedEndpoint(compute.Endpoint)
	if err != nil {
		return "", fmt.Errorf("cannot read Nova's address: %w", err)
	}
	var told struct {
		Version struct {
			Version string `json:"version"`
		} `json:"version"`
	}
	response, err := compute.ProviderClient.Request(ctx, http.MethodGet, base, &gophercloud.RequestOpts{JSONResponse: &told})
	if _, _, err := gophercloud.ParseResponse(response, err); err != nil {
		return "", cannot(err, "ask Nova for its version")
	}
	major, minor, err := utils.ParseMicroversion(told.Version.Version)
	if err != nil || major != 2 {
		return "", fmt.Errorf("cannot use Nova at %s: the version of its API is %q, and not one of 2.1 to 2.%d", base, oneLine(told.Version.Version), lastMinor)
	}
	return fmt.Sprintf("2.%d", min(minor, lastMinor)), nil
}
