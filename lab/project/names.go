package project

import (
	"context"
	"fmt"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// Names lists what there is of each kind in the project, each with its ID.
func (p *Project) Names(ctx context.Context) (map[string][]string, error) {
	all := make(map[string][]string)
	for _, kind := range p.kinds("") {
		found, err := kind.list(ctx)
		if err != nil {
			return nil, fmt.Errorf("cannot list the project's %s: %w", kind.name, err)
		}
		all[kind.name] = make([]string, 0, len(found))
		for _, one := range found {
			all[kind.name] = append(all[kind.name], one.name)
		}
	}
	return all, nil
}

// Shown is how a thing is told from others of its name.
func Shown(name, id string) string {
	if name == "" {
		return id
	}
	return name + " (" + id + ")"
}

// every returns all that a list has, on however many pages: nothing where the cloud
// does not know such things, as one without routers knows no floating IPs.
func every[T any](ctx context.Context, pager pagination.Pager, extract func(pagination.Page) ([]T, error)) ([]T, error) {
	pages, err := pager.AllPages(ctx)
	if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return extract(pages)
}
