package openstack

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github-runner/charm/runner"
)

// server is what is read of a server.
type server struct {
	ID        string               `json:"id"`
	Name      string               `json:"name"`
	Status    string               `json:"status"`
	TaskState string               `json:"OS-EXT-STS:task_state"`
	Power     int                  `json:"OS-EXT-STS:power_state"`
	Created   time.Time            `json:"created"`
	Metadata  map[string]string    `json:"metadata"`
	Addresses map[string][]address `json:"addresses"`
	Fault     struct {
		Message string `json:"message"`
	} `json:"fault"`
}

// address is one of a server's.
type address struct {
	Address string `json:"addr"`
	Type    string `json:"OS-EXT-IPS:type"`
}

// isFloating reports whether the address leads to the server from another network.
func (a address) isFloating() bool {
	return a.Type == "floating"
}

// list returns the project's servers whose names fit a pattern, page by page.
// gophercloud's own list decodes each page twice, and follows links that lead past
// a proxy where Nova does not know its own address.
func (in services) list(ctx context.Context, pattern string) ([]server, error) {
	query := url.Values{"name": {pattern}}
	var all []server
	for {
		var page struct {
			Servers []server `json:"servers"`
			Links   []struct {
				Rel string `json:"rel"`
			} `json:"servers_links"`
		}
		response, err := in.compute.Get(ctx, in.compute.ServiceURL("servers", "detail")+"?"+query.Encode(), &page, nil)
		if err != nil {
			return nil, cannot(err, "list the servers of OpenStack")
		}
		response.Body.Close()
		if slices.ContainsFunc(page.Servers, server.isUnseen) {
			return nil, cannot(errUnseen, "list the servers of OpenStack")
		}
		all = append(all, page.Servers...)
		if len(page.Links) == 0 || len(page.Servers) == 0 {
			return all, nil
		}
		query.Set("marker", page.Servers[len(page.Servers)-1].ID)
	}
}

// isUnseen reports whether Nova knows no more of a server than that it is there. It
// says so of those of a cell whose database is away.
func (s server) isUnseen() bool {
	return s.Name == ""
}

// errUnseen keeps runners that can't be seen from being taken for gone.
var errUnseen = fmt.Errorf("OpenStack is %w: a cell of Nova's is down, which has servers of the project", runner.ErrUnreachable)

// named returns the servers of a name; Nova takes several of one.
func (in services) named(ctx context.Context, name string) ([]server, error) {
	all, err := in.list(ctx, "^"+regexp.QuoteMeta(name)+"$")
	if err != nil {
		return nil, err
	}
	var found []server
	for _, one := range all {
		// The pattern ignores case.
		if one.Name == name {
			found = append(found, one)
		}
	}
	return found, nil
}

// isDeleting reports whether Nova has taken the order to delete a server.
func (s server) isDeleting() bool {
	return strings.Contains(s.TaskState, "deleting") || s.Status == statusSoftDeleted
}
