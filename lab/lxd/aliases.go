package lxd

import (
	"context"
	"net/http"
	"slices"

	"github.com/canonical/lxd/shared/api"
)

// aliased returns the image of an alias; s.mu is held.
func (s *Server) aliased(alias string) (*storedImage, error) {
	for _, image := range s.images {
		if !slices.ContainsFunc(image.Aliases, func(a api.ImageAlias) bool { return a.Name == alias }) {
			continue
		}
		// One that is not there anyway uses no fault up.
		if s.faults.Take(ImageGone, alias) != nil {
			break
		}
		return image, nil
	}
	return nil, notFound("Image alias")
}

// aliases are all aliases by name; s.mu is held.
func (s *Server) aliases() map[string]api.ImageAliasesEntry {
	all := make(map[string]api.ImageAliasesEntry)
	for _, image := range s.images {
		for _, alias := range image.Aliases {
			entry := api.ImageAliasesEntry{Name: alias.Name, Description: alias.Description, Type: image.Type}
			entry.Target = image.Fingerprint
			all[alias.Name] = entry
		}
	}
	return all
}

func (s *Server) getAliases(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return list("/1.0/images/aliases", s.aliases(), recursion(r) == "1", func(a api.ImageAliasesEntry) any { return a }), nil
}

func (s *Server) getAlias(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	if _, err := s.aliased(name); err != nil {
		return answer{}, err
	}
	entry := s.aliases()[name]
	return answer{metadata: entry, etag: entry}, nil
}

func (s *Server) postAliases(r *http.Request) (answer, error) {
	var post api.ImageAliasesPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if post.Name == "" || post.Target == "" {
		return answer{}, refuse(http.StatusBadRequest, "name and target are required")
	}
	if _, taken := s.aliases()[post.Name]; taken {
		return answer{}, refuse(http.StatusConflict, "Alias %q already exists", post.Name)
	}
	image, err := s.findImage(post.Target)
	if err != nil {
		return answer{}, err
	}
	s.changeAliases(image, func(all []api.ImageAlias) []api.ImageAlias {
		return append(all, api.ImageAlias{Name: post.Name, Description: post.Description})
	})
	s.events.lifecycle("image-alias-created", "images/aliases/"+post.Name, map[string]any{"target": post.Target}, true)
	return answer{location: "/1.0/images/aliases/" + post.Name}, nil
}

func (s *Server) putAlias(r *http.Request) (answer, error) {
	var put api.ImageAliasesEntryPut
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	if put.Target == "" {
		return answer{}, refuse(http.StatusBadRequest, "The target field is required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	from, err := s.aliased(name)
	if err != nil {
		return answer{}, err
	}
	if err := checkETag(r, s.aliases()[name]); err != nil {
		return answer{}, err
	}
	to, err := s.findImage(put.Target)
	if err != nil {
		return answer{}, err
	}
	s.changeAliases(from, func(all []api.ImageAlias) []api.ImageAlias { return withoutAlias(all, name) })
	s.changeAliases(to, func(all []api.ImageAlias) []api.ImageAlias {
		return append(all, api.ImageAlias{Name: name, Description: put.Description})
	})
	s.events.lifecycle("image-alias-updated", "images/aliases/"+name, map[string]any{"target": put.Target}, true)
	return empty, nil
}

// patchAlias fails, whatever it is to change: LXD 5.0.2 waits 20 s for a lock that it
// holds itself, all other calls wait with it, and nothing is changed.
func (s *Server) patchAlias(r *http.Request) (answer, error) {
	var patch map[string]any
	if err := decode(r, &patch); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	if _, err := s.aliased(name); err != nil {
		return answer{}, err
	}
	if err := checkETag(r, s.aliases()[name]); err != nil {
		return answer{}, err
	}
	for _, key := range []string{"target", "description"} {
		if value, given := patch[key]; given {
			if _, ok := value.(string); !ok {
				return answer{}, refuse(http.StatusBadRequest, "`%s` was not a string", key)
			}
		}
	}
	if target, given := patch["target"].(string); given {
		if _, err := s.findImage(target); err != nil {
			return answer{}, err
		}
	}
	return answer{}, context.DeadlineExceeded
}

// postAlias renames an alias.
func (s *Server) postAlias(r *http.Request) (answer, error) {
	var post api.ImageAliasesEntryPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.aliases()[post.Name]; taken {
		return answer{}, refuse(http.StatusConflict, "Alias %q already exists", post.Name)
	}
	name := r.PathValue("name")
	image, err := s.aliased(name)
	if err != nil {
		return answer{}, err
	}
	s.changeAliases(image, func(all []api.ImageAlias) []api.ImageAlias {
		description := s.aliases()[name].Description
		return append(withoutAlias(all, name), api.ImageAlias{Name: post.Name, Description: description})
	})
	s.events.lifecycle("image-alias-renamed", "images/aliases/"+post.Name, map[string]any{"old_name": name}, true)
	return answer{location: "/1.0/images/aliases/" + post.Name}, nil
}

// changeAliases gives an image other aliases; s.mu is held.
func (s *Server) changeAliases(image *storedImage, change func([]api.ImageAlias) []api.ImageAlias) {
	image.Aliases = change(image.Aliases)
	s.keep(storedImages, image.Fingerprint, image)
}

func withoutAlias(all []api.ImageAlias, name string) []api.ImageAlias {
	return slices.DeleteFunc(all, func(a api.ImageAlias) bool { return a.Name == name })
}

func (s *Server) deleteAlias(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	image, err := s.aliased(name)
	if err != nil {
		return answer{}, err
	}
	s.changeAliases(image, func(all []api.ImageAlias) []api.ImageAlias { return withoutAlias(all, name) })
	s.events.lifecycle("image-alias-deleted", "images/aliases/"+name, nil, true)
	return empty, nil
}
