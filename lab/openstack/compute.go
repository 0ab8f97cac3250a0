package openstack

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const computePath = "/compute"

// maxMinor is Nova's last microversion, after 2; the first is 1.
const maxMinor = 93

// maxLimit is how many elements a page of Nova's has at most.
const maxLimit = 1000

// computeRefusals are the names of Nova's refusals by their status.
var computeRefusals = map[int]string{
	http.StatusBadRequest:            "badRequest",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "itemNotFound",
	http.StatusConflict:              "conflictingRequest",
	http.StatusRequestEntityTooLarge: "overLimit",
	http.StatusTooManyRequests:       "overLimit",
	http.StatusNotImplemented:        "notImplemented",
}

func computeRefusal(r refusal) any {
	name := cmp.Or(computeRefusals[r.status], "computeFault")
	said := object{"code": r.status, "message": r.message}
	if r.again > 0 {
		said["retryAfter"] = strconv.Itoa(int(r.again.Round(time.Second) / time.Second))
	}
	return object{name: said}
}

func (s *Server) compute() *service {
	v := &service{
		name: "nova", kind: "compute", root: computePath, path: computePath + "/v2.1",
		refuse: computeRefusal,
		broken: "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and attach the Nova API log if possible.\n" +
			"<class 'oslo_db.exception.DBConnectionError'>",
		prepare: negotiate,
	}
	s.route(v, true, map[string]handler{
		"GET /{$}":      s.getComputeVersions,
		"GET /v2.1":     s.getComputeVersion,
		"GET /v2.1/{$}": s.getComputeVersion,
	})
	s.route(v, false, map[string]handler{
		"GET /v2.1/servers":                s.listServers(false),
		"GET /v2.1/servers/detail":         s.listServers(true),
		"POST /v2.1/servers":               s.postServer,
		"GET /v2.1/servers/{id}":           s.getServer,
		"DELETE /v2.1/servers/{id}":        s.deleteServer,
		"POST /v2.1/servers/{id}/action":   s.postAction,
		"GET /v2.1/servers/{id}/metadata":  s.getMetadata,
		"POST /v2.1/servers/{id}/metadata": s.postMetadata,
		"GET /v2.1/flavors":                s.listFlavors(false),
		"GET /v2.1/flavors/detail":         s.listFlavors(true),
		"GET /v2.1/flavors/{id}":           s.getFlavor,
		"GET /v2.1/limits":                 s.getLimits,
		"GET /v2.1/os-quota-sets/{id}":     s.getQuota,
	})
	return v
}

// negotiate reads the microversion that a call asks for.
func negotiate(c *call, header http.Header) error {
	c.minor = 1
	wanted := c.Header.Get("X-Openstack-Nova-Api-Version")
	for _, one := range strings.Split(c.Header.Get("Openstack-Api-Version"), ",") {
		if kind, version, ok := strings.Cut(strings.TrimSpace(one), " "); ok && strings.EqualFold(kind, "compute") {
			wanted = strings.TrimSpace(version)
		}
	}
	header.Add("Vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version")
	switch wanted {
	case "":
	case "latest":
		c.minor = maxMinor
	default:
		major, minor, err := parseVersion(wanted)
		if err != nil {
			return err
		}
		if major != 2 || minor < 1 || minor > maxMinor {
			return refuse(http.StatusNotAcceptable, "Version %s is not supported by the API. Minimum is 2.1 and maximum is 2.%d.", wanted, maxMinor)
		}
		c.minor = minor
	}
	header.Set("Openstack-Api-Version", fmt.Sprintf("compute 2.%d", c.minor))
	header.Set("X-Openstack-Nova-Api-Version", fmt.Sprintf("2.%d", c.minor))
	return nil
}

func parseVersion(text string) (major, minor int, err error) {
	first, second, _ := strings.Cut(text, ".")
	major, err = strconv.Atoi(first)
	if err == nil {
		minor, err = strconv.Atoi(second)
	}
	if err != nil {
		return 0, 0, refuse(http.StatusBadRequest, "API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", text)
	}
	return major, minor, nil
}

func computeVersion(c call) object {
	return object{
		"id": "v2.1", "status": "CURRENT", "version": fmt.Sprintf("2.%d", maxMinor), "min_version": "2.1", "updated": "2013-07-23T11:33:21Z",
		"links": []any{link("self", c.base()+computePath+"/v2.1/")},
	}
}

func (s *Server) getComputeVersions(c call) (answer, error) {
	old := object{
		"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z",
		"links": []any{link("self", c.base()+computePath+"/v2/")},
	}
	return answer{body: object{"versions": []any{old, computeVersion(c)}}}, nil
}

func (s *Server) getComputeVersion(c call) (answer, error) {
	return answer{body: object{"version": computeVersion(c)}}, nil
}

// show is a flavor as the API shows it.
func (f *Flavor) show(c call, full bool) object {
	shown := object{"id": f.ID, "name": f.Name, "links": []any{
		link("self", c.base()+computePath+"/v2.1/flavors/"+f.ID), link("bookmark", c.base()+computePath+"/flavors/"+f.ID),
	}}
	if !full {
		return shown
	}
	shown["vcpus"], shown["ram"], shown["disk"], shown["swap"] = f.VCPUs, f.RAM, f.Disk, any("")
	shown["OS-FLV-EXT-DATA:ephemeral"], shown["OS-FLV-DISABLED:disabled"] = 0, false
	shown["os-flavor-access:is_public"], shown["rxtx_factor"] = true, 1.0
	if c.minor >= 55 {
		shown["description"] = nil
	}
	if c.minor >= 61 {
		shown["extra_specs"] = object{}
	}
	if c.minor >= 75 {
		shown["swap"] = 0
	}
	return shown
}

func (s *Server) listFlavors(full bool) handler {
	return func(c call) (answer, error) {
		limit, err := limitOf(c)
		if err != nil {
			return answer{}, err
		}
		marker := c.URL.Query().Get("marker")
		part, more, ok := page(s.flavors, func(f *Flavor) string { return f.ID }, marker, limit)
		if !ok {
			return answer{}, refuse(http.StatusBadRequest, "marker [%s] not found", marker)
		}
		shown := make([]any, 0, len(part))
		for _, f := range part {
			shown = append(shown, f.show(c, full))
		}
		return answer{body: s.pageOf(c, "flavors", shown, more)}, nil
	}
}

func (s *Server) getFlavor(c call) (answer, error) {
	id := c.PathValue("id")
	for _, f := range s.flavors {
		if f.ID == id {
			return answer{body: object{"flavor": f.show(c, true)}}, nil
		}
	}
	return answer{}, refuse(http.StatusNotFound, "Flavor %s could not be found.", id)
}

// limitOf is how many elements a call wants at most.
func limitOf(c call) (int, error) {
	text := c.URL.Query().Get("limit")
	if text == "" {
		return maxLimit, nil
	}
	limit, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "Invalid input for query parameters limit. Value: %s. '%s' does not match '^[0-9]*$'", text, text)
	}
	return min(int(limit), maxLimit), nil
}

// pageOf is a page of a list of Nova's, with the link to the next one.
func (s *Server) pageOf(c call, name string, shown any, more string) object {
	body := object{name: shown}
	if more != "" {
		query := c.URL.Query()
		query.Set("marker", more)
		body[name+"_links"] = []any{link("next", c.base()+c.URL.Path+"?"+query.Encode())}
	}
	return body
}

// usage is what a project has of what a quota limits; s.mu is held.
func (s *Server) usage(projectID string) (used Quota) {
	for _, v := range s.servers {
		if v.project == projectID {
			used.Instances++
			used.Cores += v.flavor.VCPUs
			used.RAM += v.flavor.RAM
		}
	}
	for _, g := range s.groups {
		if g.project == projectID {
			used.SecurityGroups++
			used.SecurityGroupRules += len(g.rules)
		}
	}
	for _, p := range s.ports {
		if p.project == projectID {
			used.Ports++
		}
	}
	for _, f := range s.floating {
		if f.project == projectID {
			used.FloatingIPs++
		}
	}
	return used
}

func (s *Server) getLimits(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	quota, used := c.project().Quota, s.usage(c.project().id)
	absolute := object{
		"maxTotalInstances": quota.Instances, "totalInstancesUsed": used.Instances,
		"maxTotalCores": quota.Cores, "totalCoresUsed": used.Cores,
		"maxTotalRAMSize": quota.RAM, "totalRAMUsed": used.RAM,
		"maxServerMeta": quota.MetadataItems, "maxTotalKeypairs": 100,
		"maxServerGroups": 10, "maxServerGroupMembers": 10, "totalServerGroupsUsed": 0,
	}
	if c.minor < 36 {
		absolute["maxSecurityGroups"], absolute["totalSecurityGroupsUsed"] = quota.SecurityGroups, used.SecurityGroups
		absolute["maxTotalFloatingIps"], absolute["totalFloatingIpsUsed"] = quota.FloatingIPs, used.FloatingIPs
	}
	return answer{body: object{"limits": object{"rate": []any{}, "absolute": absolute}}}, nil
}

func (s *Server) getQuota(c call) (answer, error) {
	if c.PathValue("id") != c.project().id {
		return answer{}, refuse(http.StatusForbidden, "Policy doesn't allow os_compute_api:os-quota-sets:show to be performed.")
	}
	quota := c.project().Quota
	return answer{body: object{"quota_set": object{
		"id": c.project().id, "instances": quota.Instances, "cores": quota.Cores, "ram": quota.RAM,
		"metadata_items": quota.MetadataItems, "key_pairs": 100, "server_groups": 10, "server_group_members": 10,
	}}}, nil
}
