package lxd

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// storedImage is an image with what is on its disk.
type storedImage struct {
	api.Image
	// Files is what was written to the disk of the instance that it was made of.
	Files map[string]string `json:"files,omitempty"`
}

// findImage returns an image by the beginning of its fingerprint; s.mu is held.
func (s *Server) findImage(prefix string) (*storedImage, error) {
	for name, image := range s.images {
		if prefix != "" && strings.HasPrefix(name, prefix) {
			return image, nil
		}
	}
	return nil, notFound("Image")
}

// showImage is an image as servers of 5.0 show it.
func showImage(image *storedImage) any {
	shown, err := without(image.Image, "project")
	if err != nil {
		return image.Image
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
	return answer{metadata: showImage(image), etag: image.etag()}, nil
}

// etag is what a change of the image may be made conditional on.
func (i *storedImage) etag() any {
	return []any{i.Public, i.AutoUpdate, maps.Clone(i.Properties)}
}

func (s *Server) putImage(r *http.Request) (answer, error) {
	return s.changeImage(r, func(image *storedImage) error {
		var put api.ImagePut
		if err := decode(r, &put); err != nil {
			return err
		}
		if put.Profiles == nil {
			put.Profiles = []string{"default"}
		}
		for _, name := range put.Profiles {
			if s.profiles[name] == nil {
				return refuse(http.StatusBadRequest, "Profile '%s' doesn't exist", name)
			}
		}
		if put.ExpiresAt.IsZero() {
			put.ExpiresAt = image.ExpiresAt
		}
		image.AutoUpdate, image.Public, image.Properties = put.AutoUpdate, put.Public, put.Properties
		image.ExpiresAt, image.Profiles = put.ExpiresAt, put.Profiles
		return nil
	})
}

func (s *Server) patchImage(r *http.Request) (answer, error) {
	return s.changeImage(r, func(image *storedImage) error {
		// What the request does not name stays; profiles and the end it can't change.
		put := api.ImagePut{AutoUpdate: image.AutoUpdate, Public: image.Public, Properties: maps.Clone(image.Properties)}
		if err := decode(r, &put); err != nil {
			return err
		}
		image.AutoUpdate, image.Public, image.Properties = put.AutoUpdate, put.Public, put.Properties
		return nil
	})
}

// changeImage lets change change the image that the request is about.
func (s *Server) changeImage(r *http.Request, change func(*storedImage) error) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	image, err := s.findImage(r.PathValue("fingerprint"))
	if err != nil {
		return answer{}, err
	}
	if err := checkETag(r, image.etag()); err != nil {
		return answer{}, err
	}
	if err := change(image); err != nil {
		return answer{}, err
	}
	if image.Properties == nil {
		image.Properties = make(map[string]string)
	}
	maps.DeleteFunc(image.Properties, func(_, value string) bool { return value == "" })
	s.keep(storedImages, image.Fingerprint, image)
	s.events.lifecycle("image-updated", "images/"+image.Fingerprint, nil, true)
	return empty, nil
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
