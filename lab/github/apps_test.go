package github_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github-runner/lab/github"
)

// signed is a JWT of an App's, as the charm makes it or changed.
func signed(t *testing.T, app github.App, change func(*jwt.RegisteredClaims)) string {
	t.Helper()
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(app.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claims := jwt.RegisteredClaims{Issuer: app.ClientID, IssuedAt: jwt.NewNumericDate(now.Add(-time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(9 * time.Minute))}
	if change != nil {
		change(&claims)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s stand) app(account string) github.App {
	s.t.Helper()
	made, err := s.AddApp(account)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

func (s stand) exchange(app github.App, token string) answer {
	s.t.Helper()
	return s.call("POST", fmt.Sprintf("/app/installations/%d/access_tokens", app.InstallationID), "", "Authorization", "Bearer "+token)
}

// installationToken gets a token for an App's installation.
func (s stand) installationToken(app github.App) string {
	s.t.Helper()
	got := s.exchange(app, signed(s.t, app, nil))
	var made struct {
		Token     string
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(got.body, &made); err != nil || got.status != http.StatusCreated {
		s.t.Fatalf("no token: %d %s", got.status, got.body)
	}
	if left := time.Until(made.ExpiresAt); left < 59*time.Minute || left > time.Hour {
		s.t.Errorf("the token is good for %v, want an hour", left)
	}
	return made.Token
}

func TestInstallationTokens(t *testing.T) {
	s := newStand(t, github.Options{Limit: 3})
	app, other := s.app("acme"), s.app("")
	token := s.installationToken(app)
	list := func(path, token string) int { return s.call("GET", path, "", "Authorization", "Bearer "+token).status }
	for _, step := range []struct {
		what, path, token string
		want              int
	}{
		{"where it is installed", "/repos/ACME/widgets/actions/runners", token, http.StatusOK},
		{"elsewhere", "/orgs/other/actions/runners", token, http.StatusNotFound},
		{"one that was never made", runners, "ghs_nonsense", http.StatusUnauthorized},
		{"an App that is installed everywhere", "/orgs/other/actions/runners", s.installationToken(other), http.StatusOK},
	} {
		if got := list(step.path, step.token); got != step.want {
			t.Errorf("%s: %d, want %d", step.what, got, step.want)
		}
	}
	if err := s.SuspendApp(app.ClientID, true); err != nil {
		t.Fatal(err)
	}
	if got := list(runners, token); got != http.StatusForbidden {
		t.Errorf("a suspended installation's token: %d, want 403", got)
	}
	if err := s.SuspendApp(app.ClientID, false); err != nil {
		t.Fatal(err)
	}
	if err := s.ExpireTokens(app.ClientID); err != nil {
		t.Fatal(err)
	}
	if got := list(runners, token); got != http.StatusUnauthorized {
		t.Errorf("a token after its hour: %d, want 401", got)
	}
	// A renewed token has no calls of its own.
	for range 2 {
		if got := list(runners, s.installationToken(app)); got != http.StatusOK {
			t.Errorf("a renewed token: %d", got)
		}
	}
	if got := list(runners, s.installationToken(app)); got != http.StatusForbidden {
		t.Errorf("the fourth call of three in an hour, with a new token: %d, want 403", got)
	}
}

func TestRefusedApps(t *testing.T) {
	s := newStand(t, github.Options{})
	app, other, asleep := s.app(""), s.app(""), s.app("")
	if err := s.SuspendApp(asleep.ClientID, true); err != nil {
		t.Fatal(err)
	}
	at := func(offset time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(offset)) }
	stolen := other
	stolen.ClientID = app.ClientID
	unknown := app
	unknown.ClientID = "Iv23linobody"
	symmetric, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{Issuer: app.ClientID, IssuedAt: at(-time.Minute), ExpiresAt: at(time.Minute)}).SignedString([]byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		app     github.App
		token   string
		status  int
		message string
	}{
		"no JWT":               {app, "ghp_x", 401, "could not be decoded"},
		"nothing":              {app, "", 401, "could not be decoded"},
		"another key":          {app, signed(t, stolen, nil), 401, "could not be decoded"},
		"another method":       {app, symmetric, 401, "could not be decoded"},
		"an unknown App":       {app, signed(t, unknown, nil), 404, "Integration not found"},
		"another installation": {other, signed(t, app, nil), 404, "Not Found"},
		"suspended":            {asleep, signed(t, asleep, nil), 403, "suspended"},
		"too long":             {app, signed(t, app, func(c *jwt.RegisteredClaims) { c.ExpiresAt = at(11 * time.Minute) }), 401, "too far in the future"},
		"over":                 {app, signed(t, app, func(c *jwt.RegisteredClaims) { c.ExpiresAt = at(-time.Second) }), 401, "'exp'"},
		"no end":               {app, signed(t, app, func(c *jwt.RegisteredClaims) { c.ExpiresAt = nil }), 401, "'exp'"},
		"a clock ahead":        {app, signed(t, app, func(c *jwt.RegisteredClaims) { c.IssuedAt = at(time.Minute) }), 401, "'iat'"},
		"no beginning":         {app, signed(t, app, func(c *jwt.RegisteredClaims) { c.IssuedAt = nil }), 401, "'iat'"},
	} {
		got := s.exchange(test.app, test.token)
		if got.status != test.status || !strings.Contains(string(got.body), test.message) {
			t.Errorf("%s: %d %s, want %d with %q", name, got.status, got.body, test.status, test.message)
		}
	}
}

func TestKeysOfAppsStayWithTheirOwner(t *testing.T) {
	s := newStand(t, github.Options{})
	made := s.app("acme")
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(made.PrivateKey))
	if err != nil || key.N.BitLen() != 2048 {
		t.Fatalf("the key: %v", err)
	}
	all := s.Apps()
	if len(all) != 1 || all[0].PrivateKey != "" || all[0].ClientID != made.ClientID || all[0].Account != "acme" {
		t.Errorf("Apps are %+v", all)
	}
}
