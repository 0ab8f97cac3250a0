package project

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
)

// A Neutron without routers knows no floating IPs: there are none then. Any other
// refusal is an error.
func TestThingsThatTheCloudDoesNotKnow(t *testing.T) {
	for status, wrong := range map[int]bool{http.StatusNotFound: false, http.StatusForbidden: true} {
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"NeutronError": {"type": "HTTPNotFound"}}`, status)
		}))
		defer api.Close()
		client := &gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: api.URL + "/"}
		found, err := every(t.Context(), floatingips.List(client, nil), floatingips.ExtractFloatingIPs)
		if (err != nil) != wrong || len(found) != 0 {
			t.Errorf("status %d: %v, %v", status, found, err)
		}
	}
}
