package openstack

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"time"
)

const identityPath = "/identity"

// The one domain of the cloud.
const (
	domainID   = "default"
	domainName = "Default"
)

// region is the one region of the cloud.
const region = "RegionOne"

// token says who calls.
type token struct {
	id      string
	method  string
	user    *user
	project *project
	issued  time.Time
	expires time.Time
}

// errUnauthenticated is all that Keystone says to whom it does not let in.
var errUnauthenticated = refuse(http.StatusUnauthorized, "The request you have made requires authentication.")

func keystoneRefusal(r refusal) any {
	return object{"error": object{"code": r.status, "title": http.StatusText(r.status), "message": r.message}}
}

func (s *Server) identity() *service {
	v := &service{
		name: "keystone", kind: "identity", root: identityPath, path: identityPath,
		refuse: keystoneRefusal,
		broken: "An unexpected error prevented the server from fulfilling your request.",
	}
	s.route(v, true, map[string]handler{
		"GET /{$}":             s.getIdentityVersions,
		"GET /v3":              s.getIdentityVersion,
		"GET /v3/{$}":          s.getIdentityVersion,
		"POST /v3/auth/tokens": s.postToken,
	})
	s.route(v, false, map[string]handler{
		"GET /v3/auth/tokens":    s.getToken,
		"DELETE /v3/auth/tokens": s.deleteToken,
		"GET /v3/auth/catalog":   s.getCatalog,
	})
	return v
}

func identityVersion(c call) object {
	return object{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []any{link("self", c.base()+identityPath+"/v3/")},
		"media-types": []any{object{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

func (s *Server) getIdentityVersions(c call) (answer, error) {
	return answer{status: http.StatusMultipleChoices, body: object{"versions": object{"values": []any{identityVersion(c)}}}}, nil
}

func (s *Server) getIdentityVersion(c call) (answer, error) {
	return answer{body: object{"version": identityVersion(c)}}, nil
}

// named is how requests speak of users, projects and domains.
type named struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Domain   *named `json:"domain"`
	Password string `json:"password"`
	Secret   string `json:"secret"`
	User     *named `json:"user"`
	Project  *named `json:"project"`
}

func (n *named) inDomain() bool {
	return n.Domain != nil && (n.Domain.ID == domainID || n.Domain.Name == domainName)
}

// tokenOrder is the body of POST /v3/auth/tokens.
type tokenOrder struct {
	Auth *struct {
		Identity struct {
			Methods     []string `json:"methods"`
			Password    *named   `json:"password"`
			Application *named   `json:"application_credential"`
		} `json:"identity"`
		Scope *named `json:"scope"`
	} `json:"auth"`
}

func (s *Server) postToken(c call) (answer, error) {
	var order tokenOrder
	if err := decode(c, &order); err != nil {
		return answer{}, err
	}
	if order.Auth == nil || len(order.Auth.Identity.Methods) != 1 {
		return answer{}, refuse(http.StatusBadRequest, "Expecting to find auth in request body. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	who, where := s.identify(order)
	if who == nil || s.faults.Take(LoginFails, who.name) != nil {
		return answer{}, errUnauthenticated
	}
	now := time.Now()
	t := &token{
		id: newTokenID(), method: order.Auth.Identity.Methods[0], user: who, project: where,
		issued: now, expires: now.Add(s.options.Timing.Token),
	}
	s.tokens[t.id] = t
	return answer{
		status: http.StatusCreated, header: http.Header{"X-Subject-Token": {t.id}}, body: object{"token": s.showToken(c, t)},
	}, nil
}

// identify tells who wants a token for which project: nobody, where anything about
// it is wrong; s.mu is held.
func (s *Server) identify(order tokenOrder) (*user, *project) {
	auth := order.Auth
	switch auth.Identity.Methods[0] {
	case "password":
		return s.byPassword(auth.Identity.Password, auth.Scope)
	case "application_credential":
		if auth.Scope != nil {
			return nil, nil // they have the scope that they were made in
		}
		return s.byCredential(auth.Identity.Application)
	}
	return nil, nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (s *Server) byPassword(login, scope *named) (*user, *project) {
	if login == nil || login.User == nil || scope == nil || scope.Project == nil {
		return nil, nil // a token without a scope is good for nothing here
	}
	for _, p := range s.projects {
		wanted := scope.Project
		if wanted.ID != p.id && (wanted.Name != p.Name || !wanted.inDomain()) {
			continue
		}
		for _, u := range p.users {
			known := login.User.ID == u.id || login.User.Name == u.name && login.User.inDomain()
			if known && same(login.User.Password, u.password) {
				return u, p
			}
		}
	}
	return nil, nil
}

func (s *Server) byCredential(login *named) (*user, *project) {
	if login == nil {
		return nil, nil
	}
	for _, p := range s.projects {
		for _, credential := range p.Credentials {
			owner := p.users[credential.User]
			known := login.ID == credential.ID
			if login.ID == "" && login.User != nil && login.Name == credential.Name {
				known = login.User.ID == owner.id || login.User.Name == owner.name && login.User.inDomain()
			}
			if known && same(login.Secret, credential.Secret) {
				return owner, p
			}
		}
	}
	return nil, nil
}

// showToken is a token as Keystone describes it.
func (s *Server) showToken(c call, t *token) object {
	domain := object{"id": domainID, "name": domainName}
	const micro = "2006-01-02T15:04:05.000000Z"
	return object{
		"methods": []string{t.method}, "audit_ids": []string{t.id[len(t.id)-22:]}, "is_domain": false,
		"issued_at": t.issued.UTC().Format(micro), "expires_at": t.expires.UTC().Format(micro),
		"user":    object{"id": t.user.id, "name": t.user.name, "domain": domain, "password_expires_at": nil},
		"project": object{"id": t.project.id, "name": t.project.Name, "domain": domain},
		"roles":   []any{object{"id": "9fe2ff9ee4384b1894a90878d3e92bab", "name": "member"}},
		"catalog": s.catalog(c),
	}
}

// catalog is where the services are, by the address that the caller knows.
func (s *Server) catalog(c call) []any {
	var entries []any
	for _, v := range s.services {
		var endpoints []any
		for _, reach := range []string{"public", "internal", "admin"} {
			endpoints = append(endpoints, object{
				"id": v.kind + "-" + reach, "interface": reach, "region": region, "region_id": region, "url": c.base() + v.path,
			})
		}
		entries = append(entries, object{"id": v.kind, "type": v.kind, "name": v.name, "endpoints": endpoints})
	}
	return entries
}

func (s *Server) getCatalog(c call) (answer, error) {
	return answer{body: object{"catalog": s.catalog(c)}}, nil
}

// authenticate tells who calls.
func (s *Server) authenticate(c call, header http.Header) (*token, error) {
	id := c.Header.Get("X-Auth-Token")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.Take(TokenRevoked, what(c.Request)) != nil {
		delete(s.tokens, id)
	}
	t := s.tokens[id]
	if t == nil || !time.Now().Before(t.expires) {
		delete(s.tokens, id)
		header.Set("WWW-Authenticate", `Keystone uri="`+c.base()+identityPath+`"`)
		return nil, errUnauthenticated
	}
	return t, nil
}

// subject is the token that a call is about; s.mu is held.
func (s *Server) subject(c call) (*token, error) {
	t := s.tokens[c.Header.Get("X-Subject-Token")]
	if t == nil || !time.Now().Before(t.expires) || t.user != c.token.user {
		return nil, refuse(http.StatusNotFound, "Could not find token: %s.", c.Header.Get("X-Subject-Token"))
	}
	return t, nil
}

func (s *Server) getToken(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.subject(c)
	if err != nil {
		return answer{}, err
	}
	return answer{header: http.Header{"X-Subject-Token": {t.id}}, body: object{"token": s.showToken(c, t)}}, nil
}

func (s *Server) deleteToken(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.subject(c)
	if err != nil {
		return answer{}, err
	}
	delete(s.tokens, t.id)
	return answer{status: http.StatusNoContent}, nil
}

// newTokenID looks like one of Keystone's Fernet tokens.
func newTokenID() string {
	var b [132]byte
	rand.Read(b[:]) // never fails, by its contract
	return "gAAAAA" + base64.RawURLEncoding.EncodeToString(b[:])
}
