package openstack

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// shownServer is a server as the API shows it, in all detail.
type shownServer struct {
	ID             string              `json:"id"`
	Name           string              `json:"name"`
	Status         string              `json:"status"`
	Project        string              `json:"tenant_id"`
	User           string              `json:"user_id"`
	Metadata       map[string]string   `json:"metadata"`
	HostID         string              `json:"hostId"`
	Image          object              `json:"image"`
	Flavor         object              `json:"flavor"`
	Created        string              `json:"created"`
	Updated        string              `json:"updated"`
	Addresses      map[string][]object `json:"addresses"`
	AccessIPv4     string              `json:"accessIPv4"`
	AccessIPv6     string              `json:"accessIPv6"`
	Links          []any               `json:"links"`
	DiskConfig     string              `json:"OS-DCF:diskConfig"`
	Progress       *int                `json:"progress,omitempty"`
	Zone           string              `json:"OS-EXT-AZ:availability_zone"`
	ConfigDrive    string              `json:"config_drive"`
	KeyName        *string             `json:"key_name"`
	Launched       *string             `json:"OS-SRV-USG:launched_at"`
	Terminated     *string             `json:"OS-SRV-USG:terminated_at"`
	SecurityGroups []object            `json:"security_groups,omitempty"`
	TaskState      *string             `json:"OS-EXT-STS:task_state"`
	VMState        string              `json:"OS-EXT-STS:vm_state"`
	PowerState     int                 `json:"OS-EXT-STS:power_state"`
	Volumes        []object            `json:"os-extended-volumes:volumes_attached"`
	Fault          object              `json:"fault,omitempty"`
	Locked         *bool               `json:"locked,omitempty"`
	Tags           *[]string           `json:"tags,omitempty"`
	ServerGroups   *[]string           `json:"server_groups,omitempty"`
	Hostname       *string             `json:"OS-EXT-SRV-ATTR:hostname,omitempty"`
	// These are null where they are shown.
	Description  json.RawMessage `json:"description,omitempty"`
	Certificates json.RawMessage `json:"trusted_image_certificates,omitempty"`
	LockedReason json.RawMessage `json:"locked_reason,omitempty"`
}

func (v *server) links(c call) []any {
	return []any{link("self", c.base()+computePath+"/v2.1/servers/"+v.id), link("bookmark", c.base()+computePath+"/servers/"+v.id)}
}

// showServer is a server in all detail; s.mu is held.
func (s *Server) showServer(c call, v *server) shownServer {
	shown := shownServer{
		ID: v.id, Name: v.name, Status: statuses[v.vmState], Project: v.project, User: v.user,
		Metadata: v.metadata, HostID: v.host, Created: zulu(v.created), Updated: zulu(v.updated),
		Addresses: s.addresses(v), Links: v.links(c), DiskConfig: "MANUAL", Zone: v.zone,
		VMState: v.vmState, PowerState: powers[v.vmState], Volumes: []object{},
		SecurityGroups: s.groupNames(v),
		Image:          object{"id": v.image, "links": []any{link("bookmark", c.base()+computePath+"/images/"+v.image)}},
		Flavor:         v.flavor.inServer(c),
	}
	if shown.Metadata == nil {
		shown.Metadata = map[string]string{}
	}
	if v.configDrive {
		shown.ConfigDrive = "True"
	}
	if v.taskState != "" {
		task := v.taskState
		shown.TaskState = &task
	}
	if !v.launched.IsZero() {
		launched := v.launched.UTC().Format("2006-01-02T15:04:05.000000")
		shown.Launched = &launched
	}
	if v.vmState == vmBuilding || v.vmState == vmActive {
		progress := 0
		shown.Progress = &progress
	}
	if v.fault != nil && v.vmState == vmError {
		shown.Fault = object{"code": v.fault.code, "message": v.fault.message, "created": zulu(v.fault.created)}
	}
	s.oddStatus(v, &shown)
	shown.since(c.minor, v)
	return shown
}

// oddStatus shows a server as a fault has it.
func (s *Server) oddStatus(v *server, shown *shownServer) {
	if f := s.faults.Take(OddStatus, v.name); f != nil {
		shown.Status, shown.VMState = f.Message, oddStatuses[f.Message]
	}
}

// since adds what later microversions show.
func (shown *shownServer) since(minor int, v *server) {
	null := json.RawMessage("null")
	for _, later := range []struct {
		minor int
		show  func()
	}{
		{9, func() { shown.Locked = new(bool) }},
		{19, func() { shown.Description = null }},
		{26, func() { tags := append([]string{}, v.tags...); shown.Tags = &tags }},
		{63, func() { shown.Certificates = null }},
		{71, func() { shown.ServerGroups = &[]string{} }},
		{73, func() { shown.LockedReason = null }},
		{90, func() { hostname := v.hostname; shown.Hostname = &hostname }},
	} {
		if minor >= later.minor {
			later.show()
		}
	}
}

// inServer is a flavor as servers have it.
func (f *Flavor) inServer(c call) object {
	if c.minor < 47 {
		return object{"id": f.ID, "links": []any{link("bookmark", c.base()+computePath+"/flavors/"+f.ID)}}
	}
	return object{
		"original_name": f.Name, "vcpus": f.VCPUs, "ram": f.RAM, "disk": f.Disk, "ephemeral": 0, "swap": 0, "extra_specs": object{},
	}
}

func (s *Server) getServer(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.findServer(c)
	if err != nil {
		return answer{}, err
	}
	return answer{body: object{"server": s.showServer(c, v)}}, nil
}

// listServers lists the servers of a project, newest first.
func (s *Server) listServers(full bool) handler {
	return func(c call) (answer, error) {
		limit, err := limitOf(c)
		if err != nil {
			return answer{}, err
		}
		wanted, err := filterOf(c)
		if err != nil {
			return answer{}, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		var found []*server
		for _, v := range newestFirst(s.servers) {
			if v.project == c.project().id && !s.vanished(v) && wanted(v) {
				found = append(found, v)
			}
		}
		marker := c.URL.Query().Get("marker")
		part, more, ok := page(found, func(v *server) string { return v.id }, marker, limit)
		if !ok {
			return answer{}, refuse(http.StatusBadRequest, "marker [%s] not found", marker)
		}
		shown := make([]any, 0, len(part))
		for _, v := range part {
			if full {
				shown = append(shown, s.showServer(c, v))
			} else {
				shown = append(shown, object{"id": v.id, "name": v.name, "links": v.links(c)})
			}
		}
		return answer{body: s.pageOf(c, "servers", shown, more)}, nil
	}
}

// filterOf is what the query of a list asks for. A parameter that the emulation does
// not know is refused.
func filterOf(c call) (func(*server) bool, error) {
	filters := []func(*server) bool{}
	query := c.URL.Query()
	for _, key := range slices.Sorted(maps.Keys(query)) {
		value := query.Get(key)
		switch key {
		case "limit", "marker":
		case "name":
			pattern, err := mysqlPattern(value)
			if err != nil {
				return nil, refuse(http.StatusBadRequest, "Invalid input for query parameters name. Value: %s. '%s' is not a 'regex'", value, value)
			}
			filters = append(filters, func(v *server) bool { return pattern.MatchString(v.name) })
		case "status":
			state, err := stateOf(value)
			if err != nil {
				return nil, err
			}
			filters = append(filters, func(v *server) bool { return v.vmState == state })
		case "changes-since":
			since, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return nil, refuse(http.StatusBadRequest, "Invalid input for query parameters changes-since. Value: %s. '%s' is not a 'date-time'", value, value)
			}
			filters = append(filters, func(v *server) bool { return !v.updated.Before(since) })
		case "all_tenants":
			return nil, refuse(http.StatusForbidden, "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed.")
		default:
			return nil, refuse(http.StatusBadRequest, "Additional properties are not allowed ('%s' was unexpected)", key)
		}
	}
	return func(v *server) bool {
		for _, fits := range filters {
			if !fits(v) {
				return false
			}
		}
		return true
	}, nil
}

// mysqlPattern is a pattern as the database of a real cloud reads it: it ignores
// case, fits anywhere, and knows no alternatives.
func mysqlPattern(text string) (*regexp.Regexp, error) {
	return regexp.Compile("(?i)" + strings.ReplaceAll(text, "|", `\|`))
}

// stateOf is the state behind a status that a list asks for.
func stateOf(status string) (string, error) {
	wanted := strings.ToUpper(status)
	if wanted == "DELETED" {
		return "", refuse(http.StatusForbidden, "Only administrators may list deleted instances")
	}
	for state, shown := range statuses {
		if shown == wanted {
			return state, nil
		}
	}
	if state := oddStatuses[wanted]; state != "" {
		return fmt.Sprintf("%s as %s", state, wanted), nil // no server is so
	}
	return "", refuse(http.StatusBadRequest, "Invalid status value")
}
