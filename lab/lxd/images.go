package lxd

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// aliased returns the image of an alias; s.mu is held.
func (s *Server) aliased(alias string) (*api.Image, error) {
	if s.faults.take(ImageGone, alias) != nil {
		return nil, notFound("Image alias")
	}
	for _, image := range s.images {
		if slices.ContainsFunc(image.Aliases, func(a api.ImageAlias) bool { return a.Name == alias }) {
			return image, nil
		}
	}
	return nil, notFound("Image alias")
}

// findImage returns an image by the beginning of its fingerprint; s.mu is held.
func (s *Server) findImage(prefix string) (*api.Image, error) {
	for name, image := range s.images {
		if prefix != "" && strings.HasPrefix(name, prefix) {
			return image, nil
		}
	}
	return nil, notFound("Image")
}

// showImage is an image as servers of 5.0 show it.
func showImage(image *api.Image) any {
	shown, err := without(image, "project")
	if err != nil {
		return image
	}
	return shown
}

func (s *Server) getImages(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return list("/1.0/images", s.images, recursion(r) == "1", showImage), nil
}

func (s *Server) getImage(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := s.findImage(r.PathValue("fingerprint"))
	if err != nil {
		return answer{}, err
	}
	return answer{metadata: showImage(image), etag: []any{image.Public, image.AutoUpdate, image.Properties}}, nil
}

func (s *Server) deleteImage(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := s.findImage(r.PathValue("fingerprint"))
	if err != nil {
		return answer{}, err
	}
	paths := map[string][]string{"images": {"/1.0/images/" + image.Fingerprint}}
	return answer{operation: s.operations.begin("Deleting image", paths, func(context.Context) (map[string]any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.images, image.Fingerprint)
		s.forget(storedImages, image.Fingerprint)
		s.events.lifecycle("image-deleted", "images/"+image.Fingerprint, nil, true)
		return nil, nil
	})}, nil
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
		return answer{}, refuse(http.StatusBadRequest, "Alias name and target are required")
	}
	if _, taken := s.aliases()[post.Name]; taken {
		return answer{}, refuse(http.StatusConflict, "Alias %q already exists", post.Name)
	}
	image, err := s.findImage(post.Target)
	if err != nil {
		return answer{}, err
	}
	image.Aliases = append(image.Aliases, api.ImageAlias{Name: post.Name, Description: post.Description})
	s.keep(storedImages, image.Fingerprint, image)
	s.events.lifecycle("image-alias-created", "images/aliases/"+post.Name, nil, true)
	return answer{location: "/1.0/images/aliases/" + post.Name}, nil
}

func (s *Server) deleteAlias(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	image, err := s.aliased(name)
	if err != nil {
		return answer{}, err
	}
	image.Aliases = slices.DeleteFunc(image.Aliases, func(a api.ImageAlias) bool { return a.Name == name })
	s.keep(storedImages, image.Fingerprint, image)
	s.events.lifecycle("image-alias-deleted", "images/aliases/"+name, nil, true)
	return empty, nil
}
