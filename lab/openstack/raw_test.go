package openstack

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// raw makes a call that gophercloud would not make, as the project lab.
func (c *cloud) raw(token, method, path, body string, header ...string) (int, string) {
	c.t.Helper()
	request, err := http.NewRequest(method, strings.TrimSuffix(c.URL(), "/identity/v3")+path, strings.NewReader(body))
	must(c.t, err)
	request.Header.Set("X-Auth-Token", token)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := c.http.Do(request)
	must(c.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	must(c.t, err)
	return response.StatusCode, string(content)
}

// What a request may be like is checked before the cloud is looked at.
func TestMalformedRequests(t *testing.T) {
	const (
		server = `{"server": {"name": "a", "flavorRef": "1", "networks": "auto", `
		image  = "application/openstack-images-v2.1-json-patch"
	)
	tests := map[string]struct {
		method, path, body string
		header             []string
		status             int
		want               string
	}{
		"no JSON":             {"POST", "/compute/v2.1/servers", "{", nil, 400, "Malformed request body"},
		"another thing":       {"POST", "/compute/v2.1/servers", `{"instance": {}}`, nil, 400, "Additional properties are not allowed ('instance' was unexpected)"},
		"nothing":             {"POST", "/compute/v2.1/servers", `{}`, nil, 400, "'server' is a required property"},
		"no name":             {"POST", "/compute/v2.1/servers", `{"server": {"flavorRef": "1"}}`, nil, 400, "'name' is a required property"},
		"an empty name":       {"POST", "/compute/v2.1/servers", `{"server": {"name": "", "flavorRef": "1"}}`, nil, 400, "Invalid input for field/attribute name. Value: . '' is too short"},
		"no flavor":           {"POST", "/compute/v2.1/servers", `{"server": {"name": "a"}}`, nil, 400, "'flavorRef' is a required property"},
		"a number as name":    {"POST", "/compute/v2.1/servers", `{"server": {"name": 7}}`, nil, 400, "Invalid input for field/attribute server.name. Value: number. it is not of type 'string'"},
		"odd drive":           {"POST", "/compute/v2.1/servers", server + `"config_drive": "maybe"}}`, nil, 400, "'maybe' is not one of [True"},
		"odd user-data":       {"POST", "/compute/v2.1/servers", server + `"user_data": "#cloud-config"}}`, nil, 400, "'#cloud-config' is not a 'base64'"},
		"a key":               {"POST", "/compute/v2.1/servers", server + `"key_name": "mine"}}`, nil, 400, "Invalid key_name provided."},
		"new in old":          {"POST", "/compute/v2.1/servers", server + `"tags": ["a"]}}`, []string{"OpenStack-API-Version", "compute 2.51"}, 400, "'tags' was unexpected"},
		"odd networks":        {"POST", "/compute/v2.1/servers", server[:len(server)-len(`"networks": "auto", `)] + `"networks": "some", "imageRef": "IMAGE"}}`, nil, 400, "'some' is not one of ['none', 'auto']"},
		"volumes":             {"POST", "/compute/v2.1/servers", server + `"block_device_mapping_v2": []}}`, nil, 501, "the emulated cloud has no volumes"},
		"no action":           {"POST", "/compute/v2.1/servers/SERVER/action", `{}`, nil, 400, "There is no such action"},
		"odd action":          {"POST", "/compute/v2.1/servers/SERVER/action", `{"explode": null}`, nil, 400, "There is no such action: explode"},
		"an image of no name": {"POST", "/compute/v2.1/servers/SERVER/action", `{"createImage": {"name": ""}}`, nil, 400, "'' is too short"},
		"odd metadata":        {"POST", "/compute/v2.1/servers/SERVER/metadata", `{"metadata": {"a/b": ""}}`, nil, 400, "does not match any of the regexes"},
		"a login of nobody":   {"POST", "/identity/v3/auth/tokens", `{}`, nil, 400, "Expecting to find auth in request body."},
		"a login by others":   {"POST", "/identity/v3/auth/tokens", `{"auth": {"identity": {"methods": ["totp"]}}}`, nil, 401, "requires authentication"},
		"a login by nothing":  {"POST", "/identity/v3/auth/tokens", `{"auth": {"identity": {"methods": ["application_credential"]}}}`, nil, 401, "requires authentication"},
		"a scoped one":        {"POST", "/identity/v3/auth/tokens", `{"auth": {"identity": {"methods": ["application_credential"]}, "scope": {}}}`, nil, 401, "requires authentication"},
		"no scope":            {"POST", "/identity/v3/auth/tokens", `{"auth": {"identity": {"methods": ["password"], "password": {"user": {}}}}}`, nil, 401, "requires authentication"},
		"another's token":     {"GET", "/identity/v3/auth/tokens", "", []string{"X-Subject-Token", "other"}, 404, "Could not find token: other."},
		"a group's owner":     {"POST", "/network/v2.0/security-groups", `{"security_group": {"name": "a", "project_id": "other"}}`, nil, 403, "requires admin privileges"},
		"a group's name":      {"POST", "/network/v2.0/security-groups", `{"security_group": {"name": "` + strings.Repeat("x", 256) + `"}}`, nil, 400, "exceeds maximum length of 255"},
		"odd limit":           {"GET", "/network/v2.0/ports?limit=x", "", nil, 400, "The limit must be an integer greater than or equal to 0."},
		"odd marker":          {"GET", "/network/v2.0/ports?marker=x", "", nil, 404, "The resource could not be found."},
		"another's quota":     {"GET", "/network/v2.0/quotas/other", "", nil, 403, "AdminRequired"},
		"a flavor's marker":   {"GET", "/compute/v2.1/flavors?marker=9", "", nil, 400, "marker [9] not found"},
		"odd time":            {"GET", "/compute/v2.1/servers?changes-since=now", "", nil, 400, "'now' is not a 'date-time'"},
		"odd image":           {"POST", "/image/v2/images", "[", nil, 400, "Malformed JSON in request body."},
		"a state of one":      {"POST", "/image/v2/images", `{"status": "active"}`, nil, 403, "Attribute 'status' is read-only."},
		"odd property":        {"POST", "/image/v2/images", `{"os_distro": 7}`, nil, 400, "7 is not of type 'string'"},
		"images' limit":       {"GET", "/image/v2/images?limit=x", "", nil, 400, "limit param must be an integer"},
		"negative limit":      {"GET", "/image/v2/images?limit=-1", "", nil, 400, "limit param must be positive"},
		"images' marker":      {"GET", "/image/v2/images?marker=x", "", nil, 400, "Invalid marker. Image could not be found."},
		"no patch":            {"PATCH", "/image/v2/images/IMAGE", "[]", nil, 415, "Unsupported Content-Type"},
		"another's image":     {"PATCH", "/image/v2/images/IMAGE", "[]", []string{"Content-Type", image}, 403, "modify_image"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all := c.clients("lab")
				own := strings.NewReplacer("SERVER", c.servers[1].id, "IMAGE", c.images[0].id)
				status, body := c.raw(all.compute.Token(), test.method, own.Replace(test.path), own.Replace(test.body), test.header...)
				if status != test.status || !strings.Contains(body, test.want) {
					t.Errorf("got %d %s, want %d %s", status, body, test.status, test.want)
				}
			})
		})
	}
}

func TestPatchesOfAnImage(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		token := c.clients("lab").compute.Token()
		_, body := c.raw(token, "POST", "/image/v2/images", `{"name": "a", "unit": "x", "min_ram": 64, "os_hidden": true, "tags": ["t"], "visibility": "private"}`)
		var made struct {
			ID string `json:"id"`
		}
		must(t, json.Unmarshal([]byte(body), &made))
		for patch, want := range map[string]struct {
			status int
			said   string
		}{
			`[{"op": "remove", "path": "/unit"}]`:                      {200, `"min_ram":64`},
			`[{"op": "replace", "path": "/none", "value": "x"}]`:       {409, "Property none does not exist."},
			`[{"op": "remove", "path": "/name"}]`:                      {403, "Property name may not be removed."},
			`[{"op": "move", "path": "/name"}]`:                        {400, "an op of add, replace or remove"},
			`[{"op": "replace", "path": "/size", "value": 7}]`:         {403, "Attribute 'size' is read-only."},
			`[{"op": "replace", "path": "/protected", "value": true}]`: {200, `"protected":true`},
		} {
			status, body := c.raw(token, "PATCH", "/image/v2/images/"+made.ID, patch, "Content-Type", "application/openstack-images-v2.1-json-patch")
			if status != want.status || !strings.Contains(body, want.said) {
				t.Errorf("%s: got %d %s, want %d %s", patch, status, body, want.status, want.said)
			}
		}
		if _, body := c.raw(token, "GET", "/image/v2/images?name=a", ""); strings.Contains(body, made.ID) {
			t.Errorf("a hidden image is listed: %s", body)
		}
		if _, body := c.raw(token, "GET", "/image/v2/images?os_hidden=true&tag=t&visibility=all", ""); !strings.Contains(body, made.ID) {
			t.Errorf("hidden images are %s", body)
		}
		if _, body := c.raw(token, "GET", "/image/v2/images?os_hidden=true&tag=u", ""); strings.Contains(body, made.ID) {
			t.Errorf("images with another tag are %s", body)
		}
	})
}

func TestWhatElseIsShown(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		token := c.clients("lab").compute.Token()
		for path, want := range map[string]string{
			"/identity/v3/auth/tokens":                               `"roles":[{"id":"9fe2ff9ee4384b1894a90878d3e92bab","name":"member"}]`,
			"/identity/v3/auth/catalog":                              `"url":"http://127.0.0.1:5000/compute/v2.1"`,
			"/network/v2.0/":                                         `{"resources":[]}`,
			"/network/v2.0/security-group-rules?direction=egress":    `"direction":"egress"`,
			"/network/v2.0/security-group-rules?direction=ingress":   `{"security_group_rules":[]}`,
			"/network/v2.0/quotas/" + nameID("project", "lab"):       `"security_group":10`,
			"/compute/v2.1/servers/" + c.servers[1].id + "/metadata": `{"metadata":{}}`,
			"/compute/v2.1/servers":                                  `"name":"bastion"`,
			"/compute/v2.1/flavors":                                  `"name":"m1.large"`,
			"/compute/v2.1/limits":                                   `"maxSecurityGroups":10`,
		} {
			if status, body := c.raw(token, "GET", path, "", "X-Subject-Token", token); status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s shows %d %s, want %s", path, status, body, want)
			}
		}
	})
}

// A server as Nova 2.90 shows it to its owner, field by field.
func TestServerHasNovasFields(t *testing.T) {
	want := []string{
		"OS-DCF:diskConfig", "OS-EXT-AZ:availability_zone", "OS-EXT-SRV-ATTR:hostname", "OS-EXT-STS:power_state", "OS-EXT-STS:task_state",
		"OS-EXT-STS:vm_state", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "accessIPv4", "accessIPv6", "addresses",
		"config_drive", "created", "description", "flavor", "hostId", "id", "image", "key_name", "links", "locked", "locked_reason", "metadata", "name",
		"os-extended-volumes:volumes_attached", "progress", "security_groups", "server_groups", "status", "tags", "tenant_id",
		"trusted_image_certificates", "updated", "user_id",
	}
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		token := c.clients("lab").compute.Token()
		_, body := c.raw(token, "GET", "/compute/v2.1/servers/"+c.servers[1].id, "", "OpenStack-API-Version", "compute 2.90")
		var shown struct {
			Server map[string]any `json:"server"`
		}
		must(t, json.Unmarshal([]byte(body), &shown))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(shown.Server))); diff != "" {
			t.Errorf("fields (-want +got):\n%s", diff)
		}
	})
}
