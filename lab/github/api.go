package github

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const maxRequest = 1 << 20

// route is one call of the REST API.
type route struct {
	// name is short, for the command line.
	name    string
	pattern string
	handle  func(s *Server, c *apiCall) reply
}

// routes are the calls that the stand-in answers; {scope} stands for a
// repository and for an organisation.
func routes() []route {
	return []route{
		{"list", "GET {scope}/actions/runners", (*Server).listRunners},
		{"get", "GET {scope}/actions/runners/{id}", (*Server).getRunner},
		{"delete", "DELETE {scope}/actions/runners/{id}", (*Server).deleteRunner},
		{"register", "POST {scope}/actions/runners/generate-jitconfig", (*Server).generateJIT},
		{"registration-token", "POST {scope}/actions/runners/registration-token", (*Server).makeToken},
		{"remove-token", "POST {scope}/actions/runners/remove-token", (*Server).makeToken},
		{"downloads", "GET {scope}/actions/runners/downloads", (*Server).listDownloads},
		{"groups", "GET /orgs/{org}/actions/runner-groups", (*Server).listGroups},
		{"runs", "GET /repos/{owner}/{repo}/actions/runs", (*Server).listRuns},
		{"run-jobs", "GET /repos/{owner}/{repo}/actions/runs/{id}/jobs", (*Server).listRunJobs},
		{appTokenRoute, "POST /app/installations/{installation}/access_tokens", (*Server).makeInstallationToken},
		{"repository", "GET /repos/{owner}/{repo}", (*Server).getRepository},
		{"branch", "GET /repos/{owner}/{repo}/branches/{branch}", (*Server).getBranch},
		{"protection", "GET /repos/{owner}/{repo}/branches/{branch}/protection", (*Server).getProtection},
		{"rules", "GET /repos/{owner}/{repo}/rules/branches/{branch}", (*Server).listRules},
		{"ruleset", "GET {scope}/rulesets/{id}", (*Server).getRuleset},
		{"collaborators", "GET /repos/{owner}/{repo}/collaborators", (*Server).listCollaborators},
		{"permission", "GET /repos/{owner}/{repo}/collaborators/{login}/permission", (*Server).getPermission},
		{"pulls", "GET /repos/{owner}/{repo}/pulls", (*Server).listPulls},
		{"comments", "GET /repos/{owner}/{repo}/issues/{number}/comments", (*Server).listComments},
		{"rate-limit", "GET /rate_limit", (*Server).showRateLimit},
	}
}

// appTokenRoute is the one call that is made with a JWT.
const appTokenRoute = "app-token"

const (
	repositoryPath   = "/repos/{owner}/{repo}"
	organizationPath = "/orgs/{org}"
)

// apiCall is one call on its way through the API.
type apiCall struct {
	*http.Request
	route    route
	endpoint string // METHOD and pattern
	token    string
	body     []byte
	now      time.Time
}

// reply is an answer before it has an ETag.
type reply struct {
	status int
	header http.Header
	body   any // marshalled, unless it is raw; nil for none
}

type raw []byte

func problem(status int, format string, args ...any) reply {
	return reply{status: status, body: map[string]string{
		"message":           fmt.Sprintf(format, args...),
		"documentation_url": "https://docs.github.com/rest",
		"status":            strconv.Itoa(status),
	}}
}

func notFound() reply { return problem(http.StatusNotFound, "Not Found") }

// scope is the scope of a call as it was written, and as its key.
func (c *apiCall) scope() (path, key string) {
	path = c.PathValue("org")
	if path == "" {
		path = c.PathValue("owner") + "/" + c.PathValue("repo")
	}
	return path, strings.ToLower(path)
}

func (s *Server) newAPI() http.Handler {
	mux := http.NewServeMux()
	for _, one := range routes() {
		for _, scope := range []string{repositoryPath, organizationPath} {
			pattern := strings.Replace(one.pattern, "{scope}", scope, 1)
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
				s.answer(w, &apiCall{Request: r, route: one, endpoint: pattern})
			})
			if pattern == one.pattern {
				break
			}
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		unknown := route{name: "unknown", handle: func(*Server, *apiCall) reply { return notFound() }}
		s.answer(w, &apiCall{Request: r, route: unknown, endpoint: r.Method + " (unknown)"})
	})
	return mux
}

// answer is the way of every call: faults, token, limits, the call itself,
// conditional requests, and faults again.
func (s *Server) answer(w http.ResponseWriter, c *apiCall) {
	body, err := io.ReadAll(io.LimitReader(c.Body, maxRequest))
	if err != nil {
		return
	}
	c.body = body
	c.now = time.Now()
	c.token = bearer(c.Request)
	hits := s.hit(c)
	s.count(c.endpoint, func(calls *Calls) { calls.Total++ })
	if !hits.before(c.Context(), s) {
		hangUp(w)
		return
	}
	answer, free := s.decide(c, hits)
	data := encode(&answer)
	if c.Method == http.MethodGet && answer.status == http.StatusOK {
		etag := etagOf(data)
		answer.header.Set("ETag", etag)
		answer.header.Set("Cache-Control", "private, max-age=60, s-maxage=60")
		if c.Header.Get("If-None-Match") == etag {
			answer.status, data, free = http.StatusNotModified, nil, true
		}
	}
	s.spend(c, answer.header, free)
	s.count(c.endpoint, func(calls *Calls) { calls.note(answer.status) })
	if !hits.after(c.Context(), s) {
		hangUp(w)
		return
	}
	answer.header.Set("X-GitHub-Request-Id", requestID())
	answer.header.Set("X-GitHub-Api-Version-Selected", "2022-11-28")
	for key, values := range answer.header {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(data) // whoever hung up does not want it
}

// decide returns the answer, and whether it costs nothing.
func (s *Server) decide(c *apiCall, hits hits) (answer reply, free bool) {
	if hits.revoked() {
		return problem(http.StatusUnauthorized, "Bad credentials"), true
	}
	if refused, ok := s.refused(c); ok {
		return refused, true
	}
	if limited, ok := s.overLimit(c, hits); ok {
		return limited, true
	}
	if replaced, ok := hits.answer(); ok {
		return replaced, false
	}
	return c.route.handle(s, c), c.route.name == "rate-limit"
}

func encode(answer *reply) []byte {
	if answer.header == nil {
		answer.header = http.Header{}
	}
	switch body := answer.body.(type) {
	case nil:
		return nil
	case raw:
		answer.header.Set("Content-Type", "text/html")
		return body
	default:
		data, err := json.Marshal(body)
		if err != nil {
			answer.status = http.StatusInternalServerError
			return nil
		}
		answer.header.Set("Content-Type", "application/json; charset=utf-8")
		return data
	}
}

func etagOf(data []byte) string {
	sum := sha256.Sum256(data)
	return `W/"` + hex.EncodeToString(sum[:]) + `"`
}

func bearer(r *http.Request) string {
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, "token") {
		return ""
	}
	return token
}

func requestID() string {
	id := strings.ToUpper(randomHex(8))
	return id[:4] + ":" + id[4:]
}

// hangUp resets the connection without an answer.
func hangUp(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else the other side sees a mannerly end
	}
	_ = conn.Close()
}

// page cuts a list as the query asks, and makes the Link header.
func page[T any](c *apiCall, all []T) ([]T, http.Header) {
	query := c.URL.Query()
	path, _, _ := strings.Cut(c.RequestURI, "?") // with the prefix that URL has lost
	size := number(query.Get("per_page"), 30, 100)
	at := number(query.Get("page"), 1, 1<<20)
	last := max(1, (len(all)+size-1)/size)
	header := http.Header{}
	var links []string
	link := func(page int, rel string) {
		query.Set("page", strconv.Itoa(page))
		links = append(links, fmt.Sprintf(`<http://%s%s?%s>; rel="%s"`, c.Host, path, query.Encode(), rel))
	}
	if at > 1 {
		link(at-1, "prev")
		link(1, "first")
	}
	if at < last {
		link(at+1, "next")
		link(last, "last")
	}
	if len(links) > 0 {
		header.Set("Link", strings.Join(links, ", "))
	}
	from := min((at-1)*size, len(all))
	return all[from:min(from+size, len(all))], header
}

func number(text string, usual, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return usual
	}
	return min(n, most)
}
