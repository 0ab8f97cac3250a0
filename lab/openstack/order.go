package openstack

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// maxUserData is how many characters user-data has at most, in Base64.
	maxUserData = 65535
	// maxText is how many characters names, keys and values have at most.
	maxText = 255
)

// metadataKey is what the keys of metadata are made of, as Nova says it. It takes a
// while to be compiled, and few of the lab's commands are the emulated OpenStack.
var metadataKey = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-zA-Z0-9-_:. ]{1,255}$`)
})

// serverPost is the body of POST /servers.
type serverPost struct {
	Server *struct {
		Name           *string            `json:"name"`
		ImageRef       string             `json:"imageRef"`
		FlavorRef      any                `json:"flavorRef"`
		UserData       *string            `json:"user_data"`
		ConfigDrive    any                `json:"config_drive"`
		Metadata       *map[string]string `json:"metadata"`
		Networks       json.RawMessage    `json:"networks"`
		SecurityGroups []struct {
			Name string `json:"name"`
		} `json:"security_groups"`
		KeyName    *string   `json:"key_name"`
		Zone       *string   `json:"availability_zone"`
		Tags       *[]string `json:"tags"`
		Hostname   *string   `json:"hostname"`
		AdminPass  *string   `json:"adminPass"`
		DiskConfig string    `json:"OS-DCF:diskConfig"`
		MinCount   any       `json:"min_count"`
		MaxCount   any       `json:"max_count"`
		Volumes    any       `json:"block_device_mapping_v2"`
	} `json:"server"`
}

// order is a server that somebody wants, checked.
type order struct {
	name        string
	hostname    string
	flavor      *Flavor
	image       *storedImage
	userData    string
	configDrive bool
	metadata    map[string]string
	tags        []string
	networks    []*network
	groups      []*group
}

func (s *Server) postServer(c call) (answer, error) {
	var post serverPost
	if err := decode(c, &post); err != nil {
		return answer{}, err
	}
	if post.Server == nil {
		return answer{}, invalid("", "{}", "'server' is a required property")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.check(c, post)
	if err != nil {
		return answer{}, err
	}
	if err := s.checkQuota(c.project(), o); err != nil {
		return answer{}, err
	}
	v := s.addServer(o, c.project(), c.token.user)
	go s.build(v)
	groups := make([]any, 0, len(o.groups))
	for _, g := range o.groups {
		groups = append(groups, object{"name": g.name})
	}
	self := c.base() + computePath + "/v2.1/servers/" + v.id
	return answer{status: http.StatusAccepted, header: http.Header{"Location": {self}}, body: object{"server": object{
		"id": v.id, "links": v.links(c), "security_groups": groups, "OS-DCF:diskConfig": "MANUAL", "adminPass": newTokenID()[6:18],
	}}}, nil
}

// check finds out what a POST of a server means; s.mu is held.
func (s *Server) check(c call, post serverPost) (o order, err error) {
	wanted := post.Server
	if err := s.checkForm(c, post); err != nil {
		return order{}, err
	}
	o.name = strings.TrimSpace(*wanted.Name)
	o.hostname = strings.ToLower(o.name)
	if wanted.Hostname != nil {
		o.hostname = *wanted.Hostname
	}
	o.configDrive, err = truth(wanted.ConfigDrive)
	if err != nil {
		return order{}, err
	}
	if wanted.UserData != nil {
		decoded, _ := base64.StdEncoding.DecodeString(*wanted.UserData) // checkForm has
		o.userData = string(decoded)
	}
	if wanted.Metadata != nil {
		o.metadata = *wanted.Metadata
	}
	if limit := c.project().Quota.MetadataItems; !within(limit, len(o.metadata)) {
		return order{}, refuse(http.StatusForbidden, "Maximum number of metadata items exceeds %d", limit)
	}
	if wanted.Tags != nil {
		o.tags = *wanted.Tags
	}
	if o.flavor, o.image, err = s.checkHardware(c, fmt.Sprint(wanted.FlavorRef), wanted.ImageRef); err != nil {
		return order{}, err
	}
	var groups []string
	for _, g := range wanted.SecurityGroups {
		groups = append(groups, g.Name)
	}
	if o.groups, err = s.wantedGroups(c.project().id, groups); err != nil {
		return order{}, err
	}
	o.networks, err = s.wantedNetworks(c, wanted.Networks)
	return o, err
}

// checkForm checks what can be said without a look at the cloud.
func (s *Server) checkForm(c call, post serverPost) error {
	wanted := post.Server
	if wanted.Name == nil {
		return invalid("server", "{}", "'name' is a required property")
	}
	if err := checkText("name", *wanted.Name, 1, maxText); err != nil {
		return err
	}
	if wanted.FlavorRef == nil {
		return invalid("server", "{}", "'flavorRef' is a required property")
	}
	for name, newer := range map[string]struct {
		used  bool
		since int
	}{
		"tags": {wanted.Tags != nil, 52}, "hostname": {wanted.Hostname != nil, 90},
	} {
		if newer.used && c.minor < newer.since {
			return invalid("server", "{}", "Additional properties are not allowed ('%s' was unexpected)", name)
		}
	}
	if wanted.Networks == nil && c.minor >= 37 {
		return invalid("server", "{}", "'networks' is a required property")
	}
	switch {
	case wanted.KeyName != nil:
		return refuse(http.StatusBadRequest, "Invalid key_name provided.") // there are none
	case wanted.Zone != nil && *wanted.Zone != "nova":
		return refuse(http.StatusBadRequest, "The requested availability zone is not available")
	case wanted.Volumes != nil:
		return errNotEmulated("volumes")
	case wanted.MinCount != nil || wanted.MaxCount != nil:
		return errNotEmulated("creating of several servers at once")
	}
	if err := checkUserData(wanted.UserData); err != nil {
		return err
	}
	if wanted.Metadata != nil {
		return checkMetadata(*wanted.Metadata)
	}
	return nil
}

func checkUserData(text *string) error {
	if text == nil {
		return nil
	}
	if len(*text) > maxUserData {
		return invalid("user_data", *text, "'%s' is too long", *text)
	}
	if _, err := base64.StdEncoding.DecodeString(*text); err != nil {
		return invalid("user_data", *text, "'%s' is not a 'base64'", *text)
	}
	return nil
}

func checkText(field, text string, shortest, longest int) error {
	switch count := utf8.RuneCountInString(text); {
	case count < shortest:
		return invalid(field, text, "'%s' is too short", text)
	case count > longest:
		return invalid(field, text, "'%s' is too long", text)
	}
	return nil
}

func checkMetadata(metadata map[string]string) error {
	for key, value := range metadata {
		if !metadataKey().MatchString(key) {
			return invalid("metadata", metadata, "Additional properties are not allowed ('%s' does not match any of the regexes: '%s')", key, metadataKey())
		}
		if err := checkText(key, value, 0, maxText); err != nil {
			return err
		}
	}
	return nil
}

// truth is a boolean as Nova takes them.
func truth(value any) (bool, error) {
	switch text := strings.ToLower(fmt.Sprint(value)); text {
	case "true", "1", "t", "on", "yes", "y":
		return true, nil
	case "<nil>", "false", "0", "f", "off", "no", "n":
		return false, nil
	}
	return false, invalid("config_drive", value, "'%v' is not one of [True, 'True', 'TRUE', 'true', '1', 'ON', 'On', 'on', 'YES', 'Yes', 'yes', False, 'False', 'FALSE', 'false', '0', 'OFF', 'Off', 'off', 'NO', 'No', 'no']", value)
}

// checkHardware finds a flavor and an image that fits into it; s.mu is held.
func (s *Server) checkHardware(c call, flavorRef, imageRef string) (*Flavor, *storedImage, error) {
	at := slices.IndexFunc(s.flavors, func(f *Flavor) bool { return f.ID == last(flavorRef) })
	if at < 0 {
		return nil, nil, refuse(http.StatusBadRequest, "Invalid flavorRef provided.")
	}
	flavor := s.flavors[at]
	switch {
	case imageRef == "":
		return nil, nil, refuse(http.StatusBadRequest, "Invalid imageRef provided.") // there are no volumes
	case !isUUID(last(imageRef)):
		return nil, nil, invalid("imageRef", imageRef, "'%s' is not valid under any of the given schemas", imageRef)
	}
	i := s.visibleImage(c.project().id, last(imageRef))
	switch {
	case i == nil:
		return nil, nil, refuse(http.StatusBadRequest, "Can not find requested image")
	case i.status != imageActive:
		return nil, nil, refuse(http.StatusBadRequest, "Image %s is not active.", i.id)
	case flavor.RAM < i.minRAM:
		return nil, nil, refuse(http.StatusBadRequest, "Flavor's memory is too small for requested image.")
	case flavor.Disk > 0 && flavor.Disk < i.minDisk:
		return nil, nil, refuse(http.StatusBadRequest, "Flavor's disk is too small for requested image. Flavor disk is %d bytes, minimum size is %d bytes.", flavor.Disk<<30, i.minDisk<<30)
	}
	return flavor, i, nil
}

// last is the ID that a reference, which may be a URL, ends with.
func last(reference string) string {
	return reference[strings.LastIndex(reference, "/")+1:]
}

// checkQuota refuses a server for which the project has no room; s.mu is held.
func (s *Server) checkQuota(p *project, o order) error {
	limits, used := p.Quota, s.usage(p.id)
	if s.faults.Take(QuotaExceeded, o.name) != nil {
		limits.Instances = used.Instances
	}
	var overs, requested, have, allowed []string
	for _, one := range []struct {
		name             string
		more, used, most int
	}{
		{"cores", o.flavor.VCPUs, used.Cores, limits.Cores},
		{"instances", 1, used.Instances, limits.Instances},
		{"ram", o.flavor.RAM, used.RAM, limits.RAM},
	} {
		if within(one.most, one.used+one.more) {
			continue
		}
		overs = append(overs, one.name)
		requested = append(requested, fmt.Sprint(one.more))
		have = append(have, fmt.Sprint(one.used))
		allowed = append(allowed, fmt.Sprint(one.most))
	}
	if len(overs) > 0 {
		text := func(all []string) string { return strings.Join(all, ", ") }
		return refuse(http.StatusForbidden, "Quota exceeded for %s: Requested %s, but already used %s of %s %s",
			text(overs), text(requested), text(have), text(allowed), text(overs))
	}
	if !within(limits.Ports, used.Ports+len(o.networks)) {
		return refuse(http.StatusForbidden, "Maximum number of ports exceeded")
	}
	return nil
}
