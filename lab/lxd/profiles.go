package lxd

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// showProfile is a profile as the API shows it; s.mu is held.
func (s *Server) showProfile(p *api.Profile) api.Profile {
	shown := *p
	shown.UsedBy = []string{}
	for name, i := range s.instances {
		if slices.Contains(i.Profiles, p.Name) {
			shown.UsedBy = append(shown.UsedBy, "/1.0/instances/"+name)
		}
	}
	slices.Sort(shown.UsedBy)
	return shown
}

func profileETag(p *api.Profile) any {
	return []any{p.Config, p.Description, p.Devices}
}

func (s *Server) getProfiles(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return list("/1.0/profiles", s.profiles, recursion(r) == "1", func(p *api.Profile) any { return s.showProfile(p) }), nil
}

func (s *Server) getProfile(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.profiles[r.PathValue("name")]
	if p == nil {
		return answer{}, refuse(http.StatusNotFound, "Fetch profile: Profile not found")
	}
	return answer{metadata: s.showProfile(p), etag: profileETag(p)}, nil
}

func (s *Server) postProfiles(r *http.Request) (answer, error) {
	var post api.ProfilesPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case post.Name == "":
		return answer{}, refuse(http.StatusBadRequest, "No name provided")
	case strings.Contains(post.Name, "/"):
		return answer{}, refuse(http.StatusBadRequest, "Profile names may not contain slashes")
	case post.Name == "." || post.Name == "..":
		return answer{}, refuse(http.StatusBadRequest, "Invalid profile name %q", post.Name)
	}
	if err := s.checkProfile(post.ProfilePut); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "%v", err)
	}
	if s.profiles[post.Name] != nil {
		return answer{}, says("Error inserting %q into database: The profile already exists", post.Name)
	}
	p := &api.Profile{Name: post.Name}
	s.setProfile(p, post.ProfilePut)
	s.profiles[p.Name] = p
	s.events.lifecycle("profile-created", "profiles/"+p.Name, nil, true)
	return answer{location: "/1.0/profiles/" + url.PathEscape(p.Name)}, nil
}

func (s *Server) checkProfile(put api.ProfilePut) error {
	if err := checkConfig(put.Config, ""); err != nil {
		return err
	}
	return s.checkDevices(put.Devices)
}

func (s *Server) setProfile(p *api.Profile, put api.ProfilePut) {
	p.Config, p.Description, p.Devices = put.Config, put.Description, put.Devices
	if p.Config == nil {
		p.Config = map[string]string{}
	}
	if p.Devices == nil {
		p.Devices = devices{}
	}
	s.edits++
	s.keep(storedProfiles, p.Name, p)
}

func (s *Server) putProfile(r *http.Request) (answer, error) {
	return s.changeProfile(r, "Failed to retrieve profile %q: Profile not found", func(*api.Profile) api.ProfilePut { return api.ProfilePut{} })
}

func (s *Server) patchProfile(r *http.Request) (answer, error) {
	return s.changeProfile(r, "Failed to retrieve profile=%q: Profile not found", func(p *api.Profile) api.ProfilePut {
		put := api.ProfilePut{Config: merge(p.Config, nil), Description: p.Description, Devices: devices{}}
		for name, device := range p.Devices {
			put.Devices[name] = device
		}
		return put
	})
}

// changeProfile decodes the request over what start returns.
func (s *Server) changeProfile(r *http.Request, missing string, start func(*api.Profile) api.ProfilePut) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.profiles[r.PathValue("name")]
	if p == nil {
		return answer{}, refuse(http.StatusNotFound, missing, r.PathValue("name"))
	}
	if err := checkETag(r, profileETag(p)); err != nil {
		return answer{}, err
	}
	put := start(p)
	if err := decode(r, &put); err != nil {
		return answer{}, err
	}
	if err := s.checkProfile(put); err != nil {
		return answer{}, err
	}
	s.setProfile(p, put)
	s.events.lifecycle("profile-updated", "profiles/"+p.Name, nil, true)
	return empty, nil
}

func (s *Server) deleteProfile(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("name")
	p := s.profiles[name]
	switch {
	case name == "default":
		return answer{}, refuse(http.StatusForbidden, "The \"default\" profile cannot be deleted")
	case p == nil:
		return answer{}, notFound("Profile")
	case len(s.showProfile(p).UsedBy) > 0:
		return answer{}, says("Profile is currently in use")
	}
	delete(s.profiles, name)
	s.edits++
	s.forget(storedProfiles, name)
	s.events.lifecycle("profile-deleted", "profiles/"+name, nil, true)
	return empty, nil
}
