package github

import (
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// installationToken is how the tokens of installations begin.
	installationToken = "ghs_"
	tokenLife         = time.Hour
	// maxClaim is how far ahead the end of a JWT may lie.
	maxClaim = 10 * time.Minute
	keyBits  = 2048
)

// App is a GitHub App with one installation.
type App struct {
	ClientID       string `json:"client_id"`
	InstallationID int64  `json:"installation_id"`
	// Account is the owner that it is installed at; empty for any.
	Account   string `json:"account,omitempty"`
	Suspended bool   `json:"suspended,omitempty"`
	// PrivateKey is PEM. The server keeps the public half alone: this is set in
	// what AddApp returns, and nowhere else.
	PrivateKey string `json:"private_key,omitempty"`
}

type app struct {
	App
	key *rsa.PublicKey
}

// issued is a token of an installation.
type issued struct {
	app     *app
	expires time.Time
}

// AddApp makes an App that is installed at an account, or with none everywhere.
func (s *Server) AddApp(account string) (App, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return App{}, fmt.Errorf("cannot make an App: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made := &app{
		App: App{ClientID: "Iv23li" + randomHex(7), InstallationID: s.nextID(), Account: account},
		key: &key.PublicKey,
	}
	s.apps[made.ClientID] = made
	shown := made.App
	shown.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	return shown, nil
}

// Apps returns all Apps, oldest first, without their keys.
func (s *Server) Apps() []App {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []App{}
	for _, one := range s.apps {
		all = append(all, one.App)
	}
	slices.SortFunc(all, func(a, b App) int { return cmp.Compare(a.InstallationID, b.InstallationID) })
	return all
}

// SuspendApp suspends an App's installation, or ends that. GitHub then refuses
// new tokens and those that it issued.
func (s *Server) SuspendApp(clientID string, suspended bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.apps[clientID]
	if one == nil {
		return fmt.Errorf("there is no App %q", clientID)
	}
	one.Suspended = suspended
	return nil
}

// ExpireTokens ends the tokens that an App's installation has, as an hour does.
func (s *Server) ExpireTokens(clientID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.apps[clientID] == nil {
		return fmt.Errorf("there is no App %q", clientID)
	}
	for _, one := range s.issued {
		if one.app.ClientID == clientID {
			one.expires = time.Time{}
		}
	}
	return nil
}

// makeInstallationToken answers an App that shows a JWT of its own.
func (s *Server) makeInstallationToken(c *apiCall) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, refused := s.appOf(c.token, c.now)
	if one == nil {
		return refused
	}
	if c.PathValue("installation") != strconv.FormatInt(one.InstallationID, 10) {
		return notFound()
	}
	if one.Suspended {
		return suspended()
	}
	for token, old := range s.issued {
		if !c.now.Before(old.expires) {
			delete(s.issued, token)
		}
	}
	token := installationToken + randomHex(18)
	expires := c.now.Add(tokenLife).Truncate(time.Second)
	s.issued[token] = &issued{app: one, expires: expires}
	return reply{status: http.StatusCreated, body: map[string]any{
		"token":                token,
		"expires_at":           expires.UTC().Format(time.RFC3339),
		"permissions":          map[string]string{"administration": "write", "actions": "read", "organization_self_hosted_runners": "write"},
		"repository_selection": "all",
	}}
}

func suspended() reply {
	return problem(http.StatusForbidden, "This installation has been suspended")
}

// appOf returns the App that signed a JWT, or why GitHub does not take it. The
// lock is held.
func (s *Server) appOf(token string, now time.Time) (*app, reply) {
	var one *app
	claims := jwt.RegisteredClaims{}
	_, err := jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) {
		one = s.apps[claims.Issuer]
		if one == nil {
			return nil, errUnknownApp
		}
		return one.key, nil
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	refuse := func(format string) (*app, reply) {
		return nil, problem(http.StatusUnauthorized, "%s", format)
	}
	switch {
	case errors.Is(err, errUnknownApp):
		return nil, problem(http.StatusNotFound, "Integration not found")
	case err != nil:
		return refuse("A JSON web token could not be decoded")
	case claims.ExpiresAt == nil || !now.Before(claims.ExpiresAt.Time):
		return refuse("'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires")
	case claims.ExpiresAt.After(now.Add(maxClaim)):
		return refuse("'Expiration time' claim ('exp') is too far in the future")
	case claims.IssuedAt == nil || claims.IssuedAt.After(now):
		return refuse("'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued")
	}
	return one, reply{}
}

var errUnknownApp = errors.New("no App of that name")

// refused returns the answer to a token that is not valid, or not where it is
// used. Any token is, but those that look like an installation's.
func (s *Server) refused(c *apiCall) (reply, bool) {
	if c.route.name == appTokenRoute {
		return reply{}, false // which is not asked with a token
	}
	bad := problem(http.StatusUnauthorized, "Bad credentials")
	if len(c.token) < 3 {
		return bad, true
	}
	if !strings.HasPrefix(c.token, installationToken) {
		return reply{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.issued[c.token]
	switch {
	case known == nil || !c.now.Before(known.expires):
		return bad, true
	case known.app.Suspended:
		return suspended(), true
	}
	owner := cmp.Or(c.PathValue("org"), c.PathValue("owner"))
	if at := known.app.Account; at != "" && owner != "" && !strings.EqualFold(at, owner) {
		return notFound(), true
	}
	return reply{}, false
}

// payer is whose calls a token's are: those of an installation are counted
// together, whatever token they are made with.
func (s *Server) payer(token string) string {
	if known := s.issued[token]; known != nil {
		return known.app.ClientID
	}
	return token
}
