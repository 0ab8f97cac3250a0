package openstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github-runner/lab/clock"
	"github-runner/lab/faults"
)

// maxBody bounds what a client may send, but for images.
const maxBody = 8 << 20

// service is one of the cloud's APIs.
type service struct {
	// name is what the catalog calls it, kind its type there.
	name, kind string
	// path is where its endpoint is, below the cloud's address.
	path string
	// root is where all of its paths begin.
	root string
	mux  *http.ServeMux
	// refuse is the body of a refusal, in the service's form.
	refuse func(r refusal) any
	// broken is what it says when it fails by itself.
	broken string
	// prepare reads what a request says about versions, and says so in the
	// answer's header; nil: it has one version.
	prepare func(c *call, header http.Header) error
}

// call is one request.
type call struct {
	*http.Request
	// token says who calls; nil where nobody has to.
	token *token
	// minor is Nova's microversion, after 2.
	minor int
}

// base is the cloud's address as the caller knows it.
func (c call) base() string {
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.Host
}

// project is whose call it is.
func (c call) project() *project { return c.token.project }

// handler answers one call; an error that is not a refusal is a 500.
type handler func(c call) (answer, error)

// answer is what a handler has to say.
type answer struct {
	// status is the HTTP status; 0: 200.
	status int
	header http.Header
	// body is encoded as JSON; nil: there is none.
	body any
}

// object is a JSON object.
type object = map[string]any

// refusal is an error with an HTTP status.
type refusal struct {
	status int
	// kind is the type of error where the service tells it.
	kind    string
	message string
	// again is when to try again, with status 429.
	again time.Duration
}

func (r refusal) Error() string { return r.message }

func refuse(status int, format string, args ...any) error {
	return refusal{status: status, message: fmt.Sprintf(format, args...)}
}

// invalid is how the schemas of Nova refuse a value.
func invalid(field string, value any, format string, args ...any) error {
	return refuse(http.StatusBadRequest, "Invalid input for field/attribute %s. Value: %v. %s", field, value, fmt.Sprintf(format, args...))
}

// errNoSuchPath is the answer to a path that an API does not have.
var errNoSuchPath = refuse(http.StatusNotFound, "The resource could not be found.")

// errNotEmulated is the answer to what the emulation does not have.
func errNotEmulated(what string) error {
	return refuse(http.StatusNotImplemented, "the emulated cloud has no %s", what)
}

// route adds handlers to a service's paths, which open ones may call without a
// token.
func (s *Server) route(v *service, open bool, table map[string]handler) {
	if v.mux == nil {
		v.mux = http.NewServeMux()
	}
	for pattern, handle := range table {
		method, path, _ := strings.Cut(pattern, " ")
		v.mux.HandleFunc(method+" "+v.root+path, func(w http.ResponseWriter, r *http.Request) {
			header := w.Header()
			a, err := s.admit(v, open, r, header, handle)
			if f := s.faults.Take(SlowAnswers, what(r)); f != nil && clock.Pause(r.Context(), f.Lasts(time.Second)) != nil {
				return
			}
			v.respond(w, a, err)
		})
	}
}

// what is how faults know a call.
func what(r *http.Request) string { return r.Method + " " + r.URL.Path }

// admit lets a call in, or says why not.
func (s *Server) admit(v *service, open bool, r *http.Request, header http.Header, handle handler) (answer, error) {
	c := call{Request: r}
	if f := s.faults.Take(RateLimited, what(r)); f != nil {
		return answer{}, refusal{status: http.StatusTooManyRequests, message: f.Says("This request was rate-limited."), again: f.Lasts(time.Second)}
	}
	if f := s.faults.Take(CallFails, what(r)); f != nil {
		return answer{}, v.fails(f)
	}
	if !open {
		var err error
		if c.token, err = s.authenticate(c, header); err != nil {
			return answer{}, err
		}
	}
	if v.prepare != nil {
		if err := v.prepare(&c, header); err != nil {
			return answer{}, err
		}
	}
	return handle(c)
}

func (v *service) fails(f *faults.Fault) error {
	status := f.Code(http.StatusInternalServerError)
	standard := http.StatusText(status)
	if status == http.StatusInternalServerError {
		standard = v.broken
	}
	return refusal{status: status, kind: "HTTP" + strings.ReplaceAll(http.StatusText(status), " ", ""), message: f.Says(standard)}
}

// Handler is all APIs as an http.Handler.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if clock.Pause(r.Context(), s.options.Timing.Call) != nil {
			return
		}
		w.Header().Set("X-Openstack-Request-Id", "req-"+newUUID())
		if r.Method != http.MethodGet && s.faults.Take(LostAnswer, what(r)) != nil {
			w = lost{header: make(http.Header)}
			defer panic(http.ErrAbortHandler) // cuts the connection, says the server
		}
		for _, v := range s.services {
			if r.URL.Path != v.root && !strings.HasPrefix(r.URL.Path, v.root+"/") {
				continue
			}
			if _, pattern := v.mux.Handler(r); pattern == "" {
				v.respond(w, answer{}, errNoSuchPath)
				return
			}
			v.mux.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	})
}

// lost is where an answer goes that never arrives.
type lost struct {
	header http.Header
}

func (l lost) Header() http.Header         { return l.header }
func (l lost) Write(b []byte) (int, error) { return len(b), nil }
func (l lost) WriteHeader(int)             {}

func (v *service) respond(w http.ResponseWriter, a answer, err error) {
	if err != nil {
		v.respondError(w, err)
		return
	}
	maps.Copy(w.Header(), a.header)
	if a.status == 0 {
		a.status = http.StatusOK
	}
	writeJSON(w, a.status, a.body)
}

func (v *service) respondError(w http.ResponseWriter, err error) {
	var r refusal
	if !errors.As(err, &r) {
		r = refusal{status: http.StatusInternalServerError, message: err.Error()}
	}
	if r.again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(r.again.Round(time.Second)/time.Second)))
	}
	switch r.status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// It is the load balancer that speaks.
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(r.status)
		_, _ = fmt.Fprintf(w, "<html><body><h1>%d %s</h1>\n%s\n</body></html>\n", r.status, http.StatusText(r.status), html.EscapeString(r.message))
	case http.StatusUnauthorized:
		// Keystone's own answer and that of its middleware in the other services.
		writeJSON(w, r.status, keystoneRefusal(r))
	default:
		writeJSON(w, r.status, v.refuse(r))
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// The client is gone when this fails; nobody is left to tell.
	_ = encoder.Encode(body)
}

// decode reads a request's body. What the emulation has no field for it refuses, as
// Nova's schemas refuse what they do not know.
func decode(c call, into any) error {
	decoder := json.NewDecoder(io.LimitReader(c.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var mistyped *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mistyped):
		return invalid(mistyped.Field, mistyped.Value, "it is not of type '%s'", mistyped.Type)
	}
	if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return refuse(http.StatusBadRequest, "Additional properties are not allowed ('%s' was unexpected)", strings.Trim(name, `"`))
	}
	return refuse(http.StatusBadRequest, "Malformed request body: %v", err)
}

// link is an entry of a list of links.
func link(rel, href string) map[string]string {
	return map[string]string{"rel": rel, "href": href}
}

// zulu is a time as most answers have it.
func zulu(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
