package lxd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// maxBody bounds what a client may send.
const maxBody = 8 << 20

// handler answers one request; an error that is not a refusal is a 500.
type handler func(r *http.Request) (answer, error)

// answer is what a handler has to say.
type answer struct {
	// metadata is the answer's content; raw wins over it.
	metadata any
	// raw is a JSON array, element by element, of elements that are JSON
	// already: encoding a thousand instances anew at every call takes too long.
	raw [][]byte
	// operation makes the answer asynchronous.
	operation *operation
	// etag is hashed into the ETag header; nil for none.
	etag any
	// location makes it "201 Created".
	location string
	// serve writes the whole answer itself: files and websockets.
	serve func(w http.ResponseWriter)
}

// empty is the answer to a change.
var empty = answer{metadata: struct{}{}}

// refusal is an error with an HTTP status.
type refusal struct {
	status  int
	message string
}

func (r refusal) Error() string {
	return r.message
}

func refuse(status int, format string, args ...any) error {
	return refusal{status: status, message: fmt.Sprintf(format, args...)}
}

// says returns an error in LXD's own words.
func says(format string, args ...any) error {
	return fmt.Errorf(format, args...)
}

func notFound(what string) error {
	return refuse(http.StatusNotFound, "%s not found", what)
}

// envelope has the real daemon's order of fields.
type envelope struct {
	Type       api.ResponseType `json:"type"`
	Status     string           `json:"status"`
	StatusCode int              `json:"status_code"`
	Operation  string           `json:"operation"`
	Code       int              `json:"error_code"`
	Error      string           `json:"error"`
	Metadata   any              `json:"metadata"`
}

func (s *Server) respond(w http.ResponseWriter, a answer, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case err != nil:
		var r refusal
		if !errors.As(err, &r) {
			r = refusal{status: http.StatusInternalServerError, message: err.Error()}
		}
		write(w, r.status, envelope{Type: api.ErrorResponse, Code: r.status, Error: r.message})
	case a.serve != nil:
		a.serve(w)
	case a.raw != nil:
		writeRaw(w, a.raw)
	case a.operation != nil:
		shown := a.operation.show()
		path := "/1.0/operations/" + shown.ID
		w.Header().Set("Location", path)
		write(w, http.StatusAccepted, envelope{
			Type: api.AsyncResponse, Status: api.OperationCreated.String(), StatusCode: int(api.OperationCreated),
			Operation: path, Metadata: shown,
		})
	default:
		status := http.StatusOK
		if a.etag != nil {
			w.Header().Set("ETag", `"`+etag(a.etag)+`"`)
		}
		if a.location != "" {
			w.Header().Set("Location", a.location)
			status = http.StatusCreated
		}
		write(w, status, envelope{Type: api.SyncResponse, Status: api.Success.String(), StatusCode: http.StatusOK, Metadata: a.metadata})
	}
}

func write(w http.ResponseWriter, status int, e envelope) {
	w.WriteHeader(status)
	// The client is gone when this fails; nobody is left to tell.
	_ = json.NewEncoder(w).Encode(e)
}

func writeRaw(w http.ResponseWriter, elements [][]byte) {
	parts := []string{`{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":[`, `]}` + "\n"}
	_, _ = io.WriteString(w, parts[0])
	for i, element := range elements {
		if i > 0 {
			_, _ = io.WriteString(w, ",")
		}
		_, _ = w.Write(element)
	}
	_, _ = io.WriteString(w, parts[1])
}

// without is a value as JSON without some keys: those that servers of 5.0 do
// not know and the client's types have.
func without(value any, keys ...string) (map[string]any, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	var decoded map[string]any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		return nil, err
	}
	for _, key := range keys {
		inner := decoded
		outer, rest, nested := strings.Cut(key, ".")
		if nested {
			inner, _ = decoded[outer].(map[string]any)
			outer = rest
		}
		delete(inner, outer)
	}
	return decoded, nil
}

// etag hashes what a client may change.
func etag(content any) string {
	encoded, err := json.Marshal(content)
	if err != nil {
		encoded = fmt.Append(nil, content)
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}

// checkETag refuses a change that was made for another state of the thing.
func checkETag(r *http.Request, content any) error {
	wanted := strings.Trim(r.Header.Get("If-Match"), `"`)
	if wanted == "" || wanted == etag(content) {
		return nil
	}
	return refuse(http.StatusPreconditionFailed, "ETag doesn't match: %s vs %s", etag(content), wanted)
}

// decode reads the request's body; an empty one is what LXD calls "EOF".
func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(into); err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	return nil
}

func recursion(r *http.Request) string {
	return r.URL.Query().Get("recursion")
}
