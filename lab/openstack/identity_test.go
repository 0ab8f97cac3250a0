package openstack

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/utils"

	"github-runner/lab/faults"
)

func TestLogin(t *testing.T) {
	tests := map[string]struct {
		change func(o *gophercloud.AuthOptions)
		good   bool
	}{
		"password":          {func(*gophercloud.AuthOptions) {}, true},
		"without a version": {func(o *gophercloud.AuthOptions) { o.IdentityEndpoint = strings.TrimSuffix(o.IdentityEndpoint, "/v3") }, true},
		"wrong password":    {func(o *gophercloud.AuthOptions) { o.Password = "wrong" }, false},
		"unknown user":      {func(o *gophercloud.AuthOptions) { o.Username = "nobody" }, false},
		"unknown project": {func(o *gophercloud.AuthOptions) {
			o.TenantName, o.Scope = "", &gophercloud.AuthScope{ProjectName: "none", DomainName: "Default"}
		}, false},
		"another's project": {func(o *gophercloud.AuthOptions) {
			o.TenantName, o.Scope = "", &gophercloud.AuthScope{ProjectName: "other", DomainName: "Default"}
		}, false},
		"unknown domain":     {func(o *gophercloud.AuthOptions) { o.DomainName = "Elsewhere" }, false},
		"credential by ID":   {byCredential("5f6d7c2be0f84ad8b6fc1b8ba63c1a31", "", "lab-secret"), true},
		"credential by name": {byCredential("", "runners", "lab-secret"), true},
		"wrong secret":       {byCredential("", "runners", "other-secret"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				options := gophercloud.AuthOptions{
					IdentityEndpoint: c.URL(), Username: "lab", Password: "lab-password", DomainName: "Default", TenantName: "lab",
				}
				test.change(&options)
				provider, err := c.loginBy(options)
				if !test.good {
					refused(t, err, http.StatusUnauthorized, `"message":"The request you have made requires authentication."`)
					return
				}
				must(t, err)
				if found, err := c.list(clientsOf(t, provider), servers.ListOpts{}); err != nil || len(found) != 1 || found[0].Name != "bastion" {
					t.Errorf("the project has %v, %v", found, err)
				}
			})
		})
	}
}

func byCredential(id, name, secret string) func(o *gophercloud.AuthOptions) {
	return func(o *gophercloud.AuthOptions) {
		*o = gophercloud.AuthOptions{
			IdentityEndpoint: o.IdentityEndpoint, ApplicationCredentialID: id, ApplicationCredentialName: name, ApplicationCredentialSecret: secret,
		}
		if id == "" {
			o.Username, o.DomainName = "lab", "Default"
		}
	}
}

// A client that may log in again does so, once for many calls.
func TestTokensEnd(t *testing.T) {
	tests := map[string]func(c *cloud, all clients){
		"expired": func(c *cloud, _ clients) { time.Sleep(time.Hour) }, // of the bubble's fake clock
		"revoked by a fault": func(c *cloud, _ clients) {
			c.fault(faults.Fault{Kind: TokenRevoked, Name: "GET */servers/detail", Count: 1})
		},
		"revoked by its owner": func(c *cloud, all clients) {
			identity, err := openstack.NewIdentityV3(all.compute.ProviderClient, gophercloud.EndpointOpts{})
			must(c.t, err)
			must(c.t, tokens.Revoke(c.t.Context(), identity, all.compute.Token()).Err)
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				before := all.compute.Token()
				end(c, all)
				found, err := c.list(all, servers.ListOpts{})
				if err != nil || len(found) != 1 {
					t.Errorf("the list is %v, %v", found, err)
				}
				if all.compute.Token() == before {
					t.Error("the client has the same token")
				}
				c.fault(faults.Fault{Kind: LoginFails, Name: "lab"})
				c.fault(faults.Fault{Kind: TokenRevoked})
				if _, err := c.list(all, servers.ListOpts{}); err == nil || !strings.Contains(err.Error(), "nable to re-authenticate") {
					t.Errorf("without a login: %v", err)
				}
			})
		})
	}
}

func TestCatalog(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		provider := c.clients("lab").compute.ProviderClient
		if _, err := openstack.NewComputeV2(provider, gophercloud.EndpointOpts{Region: "RegionTwo"}); err == nil {
			t.Error("an unknown region has a Nova")
		}
		for _, reach := range []gophercloud.Availability{gophercloud.AvailabilityInternal, gophercloud.AvailabilityAdmin} {
			if _, err := openstack.NewImageV2(provider, gophercloud.EndpointOpts{Region: region, Availability: reach}); err != nil {
				t.Errorf("no Glance for %s: %v", reach, err)
			}
		}
	})
}

func TestMicroversions(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		supported, err := utils.GetSupportedMicroversions(t.Context(), all.compute)
		if err != nil || supported.MaxMinor != 93 || supported.MinMinor != 1 {
			t.Errorf("supported are %+v, %v", supported, err)
		}
		flavorOf := func(version string) (map[string]any, error) {
			all.compute.Microversion = version
			found, err := c.list(all, servers.ListOpts{})
			if err != nil {
				return nil, err
			}
			return found[0].Flavor, nil
		}
		for version, key := range map[string]string{"": "id", "2.46": "id", "2.47": "original_name", "2.93": "original_name", "latest": "original_name"} {
			if flavor, err := flavorOf(version); err != nil || flavor[key] == nil {
				t.Errorf("with version %q a server's flavor is %v, %v", version, flavor, err)
			}
		}
		_, err = flavorOf("2.94")
		refused(t, err, http.StatusNotAcceptable, `{"computeFault":{"code":406,"message":"Version 2.94 is not supported by the API. Minimum is 2.1 and maximum is 2.93."}}`)
		_, err = flavorOf("two")
		refused(t, err, http.StatusBadRequest, "invalid format")
	})
}

func TestCallsNeedAToken(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		base := strings.TrimSuffix(c.URL(), "/identity/v3")
		for path, want := range map[string]int{
			"/identity/": 300, "/identity/v3": 200, "/compute/": 200, "/compute/v2.1/": 200, "/network/": 200, "/image/": 300,
			"/identity/v3/auth/catalog": 401, "/compute/v2.1/servers": 401, "/network/v2.0/ports": 401, "/image/v2/images": 401,
			"/identity/v2.0": 404, "/compute/v2.1/nothing": 404, "/volume": 404,
		} {
			response, err := c.http.Get(base + path)
			must(t, err)
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s answers %d, want %d", path, response.StatusCode, want)
			}
			if challenge := response.Header.Get("Www-Authenticate"); (want == 401) != (challenge != "") {
				t.Errorf("%s says WWW-Authenticate: %q", path, challenge)
			}
		}
	})
}
