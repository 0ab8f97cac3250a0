package simulation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
	"github-runner/lab/openstack"
)

// metadataUnit is the key that names an instance's unit.
const metadataUnit = "user.github-runner.unit"

// lxdName is what the unit's things in LXD are called.
var lxdName = nameInLXD(owner)

func nameInLXD(o runner.Owner) string {
	sum := sha256.Sum256([]byte(o.ModelUUID + "\x00" + o.Unit))
	return "ghr-" + hex.EncodeToString(sum[:4])
}

// neighbours are what others have, as it was at first.
type neighbours struct {
	instances     []api.Instance
	networks      []string
	acls          []string
	pools         []string
	profiles      []string
	registrations []string
	files         []string
	// cloud is what they have in OpenStack.
	cloud openstack.Possessions
}

// addNeighbours lets others use LXD and GitHub; OpenStack has some from the first.
func (w *world) addNeighbours() (neighbours, error) {
	if w.openStack == nil {
		if err := w.addNeighboursOnLXD(); err != nil {
			return neighbours{}, err
		}
	}
	for _, name := range []string{neighbour.Prefix() + "00000001", "somebody-elses"} {
		body := map[string]any{"name": name, "runner_group_id": 1, "labels": []string{"theirs"}}
		if err := w.post(gitHubURL+"/api/v3/repos/acme/widgets/actions/runners/generate-jitconfig", gitHubAddress, body); err != nil {
			return neighbours{}, fmt.Errorf("cannot add a neighbour's runner: %w", err)
		}
	}
	return w.neighbours(), nil
}

// neighbour is another unit of the application.
var neighbour = runner.Owner{ModelUUID: modelUUID, Unit: "app/10"}

// addNeighboursOnLXD lets others use LXD: the unit app/10, whose runners'
// names begin like app/1's, and an operator with containers of our names' shape.
func (w *world) addNeighboursOnLXD() error {
	other := neighbour
	name := nameInLXD(other)
	folder := filepath.Join(w.root(), "var/lib/github-runner", other.Prefix())
	exchange := filepath.Join(folder, "exchange", other.Prefix()+"00000001")
	if err := os.MkdirAll(exchange, 0o700); err != nil {
		return err
	}
	config := map[string]string{
		"user.github-runner.model-uuid": modelUUID, metadataUnit: other.Unit,
		"user.github-runner.api": gitHubURL + "/api/v3", "user.github-runner.path": "acme/widgets", "user.github-runner.runner-id": "7",
	}
	disk := map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "github-runner"}}
	image := api.InstanceSource{Type: "image", Alias: "noble"}
	for _, thing := range []struct {
		path string
		body any
	}{
		{"/storage-pools", api.StoragePoolsPost{Name: "github-runner", Driver: "dir"}},
		{"/network-acls", api.NetworkACLsPost{NetworkACLPost: api.NetworkACLPost{Name: name}}},
		{"/networks", api.NetworksPost{Name: name, Type: "bridge", NetworkPut: api.NetworkPut{Config: map[string]string{"ipv4.address": "10.77.0.1/24", "ipv6.address": "none"}}}},
		{"/profiles", api.ProfilesPost{Name: name + "-0badcafe", ProfilePut: api.ProfilePut{Devices: disk}}},
		{"/instances", api.InstancesPost{Name: other.Prefix() + "00000001", Source: image, InstancePut: api.InstancePut{Profiles: []string{name + "-0badcafe"}, Config: config}}},
		{"/instances", api.InstancesPost{Name: owner.Prefix() + "0badcafe", Source: image, InstancePut: api.InstancePut{Profiles: []string{name + "-0badcafe"}}}},
		{"/instances", api.InstancesPost{Name: "app-1-build", Source: image, InstancePut: api.InstancePut{Profiles: []string{name + "-0badcafe"}}}},
	} {
		if err := w.post("http://lxd/1.0"+thing.path, w.lxdSocket(), thing.body); err != nil {
			return fmt.Errorf("cannot add a neighbour at %s: %w", thing.path, err)
		}
	}
	time.Sleep(2 * timing.Create)
	return nil
}

// neighbours are the others' things as they are now.
func (w *world) neighbours() neighbours {
	all := w.daemon().Possessions()
	mine := w.possessions()
	others := neighbours{
		networks: without(all.Networks, mine.networks),
		acls:     without(all.ACLs, mine.acls),
		pools:    without(all.Pools, mine.pools),
		profiles: without(all.Profiles, mine.profiles),
	}
	for _, instance := range all.Instances {
		if len(without([]string{instance.Name}, mine.instances)) > 0 {
			others.instances = append(others.instances, instance)
		}
	}
	for _, r := range w.github.Runners() {
		if !owner.Owns(r.Name) {
			others.registrations = append(others.registrations, r.Name)
		}
	}
	others.files = entries(filepath.Join(w.root(), "var/lib/github-runner", neighbour.Prefix(), "exchange"))
	if w.openStack != nil {
		others.cloud = othersIn(w.openStack.Possessions())
	}
	return others
}

// othersIn is what others have in OpenStack.
func othersIn(all openstack.Possessions) openstack.Possessions {
	ours := map[string]bool{}
	for _, server := range all.Servers {
		ours[server.ID] = isOurs(server)
	}
	for _, group := range all.Groups {
		ours[group.ID] = group.Name == owner.Prefix()
	}
	left := func(things []openstack.Possession, ofOurs func(openstack.Possession) bool) []openstack.Possession {
		return slices.DeleteFunc(things, ofOurs)
	}
	return openstack.Possessions{
		Servers: left(all.Servers, func(one openstack.Possession) bool { return ours[one.ID] }),
		Groups:  left(all.Groups, func(one openstack.Possession) bool { return ours[one.ID] }),
		Ports: left(all.Ports, func(one openstack.Possession) bool {
			return ours[one.Server] || slices.ContainsFunc(one.Groups, func(id string) bool { return ours[id] })
		}),
		Images: all.Images,
	}
}

func (l *life) checkNeighbours(before neighbours) {
	if after := l.world.neighbours(); !reflect.DeepEqual(before, after) {
		l.violate("what others have was touched: it was %+v, it is %+v", before, after)
	}
}

func without(names, others []string) []string {
	var left []string
	for _, name := range names {
		found := false
		for _, other := range others {
			found = found || name == other
		}
		if !found {
			left = append(left, name)
		}
	}
	return left
}

// post sends a request as somebody who is not the charm.
func (w *world) post(url, address string, body any) error {
	return w.send(http.MethodPost, url, address, body)
}

// put sends LXD a request as somebody who is not the charm.
func (w *world) put(url string, body any) error {
	return w.send(http.MethodPut, url, w.lxdSocket(), body)
}

func (w *world) send(method, url, address string, body any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return w.network.Dial(ctx, "unix", address) },
	}}
	request, err := http.NewRequest(method, url, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer theirs")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	return nil
}
