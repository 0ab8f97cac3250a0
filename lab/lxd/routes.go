package lxd

import (
	"net/http"
	"time"

	"github-runner/lab/clock"
)

// routes is the whole API.
func (s *Server) routes() *http.ServeMux {
	table := map[string]handler{
		"GET /{$}":            func(*http.Request) (answer, error) { return answer{metadata: []string{"/1.0"}}, nil },
		"GET /internal/ready": func(*http.Request) (answer, error) { return empty, nil },
		"GET /1.0":            s.getServer,
		"PUT /1.0":            s.putServer,
		"PATCH /1.0":          s.putServer,
		"GET /1.0/events":     s.getEvents,
		"GET /1.0/projects":   s.getProjects,

		"GET /1.0/projects/{name}":        s.getProject,
		"GET /1.0/operations":             s.getOperations,
		"GET /1.0/operations/{id}":        s.getOperation,
		"GET /1.0/operations/{id}/wait":   s.waitOperation,
		"DELETE /1.0/operations/{id}":     s.deleteOperation,
		"GET /1.0/instances":              s.getInstances,
		"POST /1.0/instances":             s.postInstances,
		"GET /1.0/instances/{name}":       s.getInstance,
		"PUT /1.0/instances/{name}":       s.putInstance,
		"PATCH /1.0/instances/{name}":     s.patchInstance,
		"DELETE /1.0/instances/{name}":    s.deleteInstance,
		"GET /1.0/instances/{name}/state": s.getInstanceState,
		"PUT /1.0/instances/{name}/state": s.putInstanceState,

		"GET /1.0/instances/{name}/files":       s.getFile,
		"POST /1.0/instances/{name}/files":      s.postFile,
		"DELETE /1.0/instances/{name}/files":    s.deleteFile,
		"POST /1.0/instances/{name}/exec":       s.postExec,
		"GET /1.0/instances/{name}/console":     s.getConsole,
		"GET /1.0/instances/{name}/logs":        s.getLogs,
		"GET /1.0/instances/{name}/logs/{file}": s.getLog,

		"GET /1.0/networks":                    s.getNetworks,
		"POST /1.0/networks":                   s.postNetworks,
		"GET /1.0/networks/{name}":             s.getNetwork,
		"PUT /1.0/networks/{name}":             s.putNetwork,
		"PATCH /1.0/networks/{name}":           s.patchNetwork,
		"DELETE /1.0/networks/{name}":          s.deleteNetwork,
		"GET /1.0/networks/{name}/state":       s.getNetworkState,
		"GET /1.0/networks/{name}/leases":      s.getNetworkLeases,
		"GET /1.0/network-acls":                s.getACLs,
		"POST /1.0/network-acls":               s.postACLs,
		"GET /1.0/network-acls/{name}":         s.getACL,
		"PUT /1.0/network-acls/{name}":         s.putACL,
		"PATCH /1.0/network-acls/{name}":       s.patchACL,
		"DELETE /1.0/network-acls/{name}":      s.deleteACL,
		"GET /1.0/storage-pools":               s.getPools,
		"POST /1.0/storage-pools":              s.postPools,
		"GET /1.0/storage-pools/{name}":        s.getPool,
		"PUT /1.0/storage-pools/{name}":        s.putPool,
		"PATCH /1.0/storage-pools/{name}":      s.patchPool,
		"DELETE /1.0/storage-pools/{name}":     s.deletePool,
		"GET /1.0/profiles":                    s.getProfiles,
		"POST /1.0/profiles":                   s.postProfiles,
		"GET /1.0/profiles/{name}":             s.getProfile,
		"PUT /1.0/profiles/{name}":             s.putProfile,
		"PATCH /1.0/profiles/{name}":           s.patchProfile,
		"DELETE /1.0/profiles/{name}":          s.deleteProfile,
		"GET /1.0/images":                      s.getImages,
		"POST /1.0/images":                     s.postImages,
		"GET /1.0/images/{fingerprint}":        s.getImage,
		"PUT /1.0/images/{fingerprint}":        s.putImage,
		"PATCH /1.0/images/{fingerprint}":      s.patchImage,
		"DELETE /1.0/images/{fingerprint}":     s.deleteImage,
		"GET /1.0/images/aliases":              s.getAliases,
		"POST /1.0/images/aliases":             s.postAliases,
		"GET /1.0/images/aliases/{name...}":    s.getAlias,
		"PUT /1.0/images/aliases/{name...}":    s.putAlias,
		"PATCH /1.0/images/aliases/{name...}":  s.patchAlias,
		"POST /1.0/images/aliases/{name...}":   s.postAlias,
		"DELETE /1.0/images/aliases/{name...}": s.deleteAlias,

		"GET /1.0/storage-pools/{name}/resources":                  s.getPoolResources,
		"GET /1.0/storage-pools/{name}/volumes":                    s.getVolumes,
		"POST /1.0/storage-pools/{name}/volumes/custom":            s.postVolumes,
		"GET /1.0/storage-pools/{name}/volumes/{type}/{volume}":    s.getVolume,
		"DELETE /1.0/storage-pools/{name}/volumes/{type}/{volume}": s.deleteVolume,
		"GET /1.0/warnings":                                        nothing,
		"GET /1.0/certificates":                                    nothing,
	}
	mux := http.NewServeMux()
	for pattern, handle := range table {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a, err := handle(r)
			s.respond(w, a, err)
		})
	}
	return mux
}

func nothing(*http.Request) (answer, error) {
	return answer{metadata: []string{}}, nil
}

var methods = []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete}

// Handler is the API as an http.Handler.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.faults.Take(SlowAnswers, r.URL.Path); f != nil {
			if err := clock.Pause(r.Context(), f.Lasts(time.Second)); err != nil {
				return
			}
		}
		if r.Method != http.MethodGet && s.faults.Take(LostAnswer, r.URL.Path) != nil {
			w = lost{header: make(http.Header)}
			defer panic(http.ErrAbortHandler) // cuts the connection, says the server
		}
		if f := s.faults.Take(CallFails, r.Method+" "+r.URL.Path); f != nil {
			s.respond(w, answer{}, refuse(f.Code(http.StatusInternalServerError), "%s", f.Says("Internal server error")))
			return
		}
		if _, pattern := s.mux.Handler(r); pattern == "" {
			s.respond(w, answer{}, s.unknown(r))
			return
		}
		s.mux.ServeHTTP(w, r)
	})
}

// unknown tells a path that the API does not have from a method that the path
// does not have.
func (s *Server) unknown(r *http.Request) error {
	other := r.Clone(r.Context())
	for _, method := range methods {
		other.Method = method
		if _, pattern := s.mux.Handler(other); pattern != "" {
			return refuse(http.StatusNotImplemented, "not implemented")
		}
	}
	return refuse(http.StatusNotFound, "not found")
}

// lost is where an answer goes that never arrives.
type lost struct {
	header http.Header
}

func (l lost) Header() http.Header         { return l.header }
func (l lost) Write(b []byte) (int, error) { return len(b), nil }
func (l lost) WriteHeader(int)             {}
