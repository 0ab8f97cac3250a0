package github

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// Credential is what calls are authorised by: a token, or a GitHub App.
type Credential struct {
	// Token is a personal access token; empty where App is given.
	Token secret.Text
	// Option is where a person gave Token, default "token": errors name it.
	Option string
	App    App
}

// App is an installation of a GitHub App.
type App struct {
	ClientID       string
	InstallationID int64
	// PrivateKey is an RSA key of the App's in PEM.
	PrivateKey secret.Text
}

// IsZero reports whether there is neither a token nor an App.
func (c Credential) IsZero() bool {
	return c.Token.IsZero() && !c.isApp()
}

func (c Credential) isApp() bool {
	return c.App.ClientID != ""
}

func (c Credential) equal(other Credential) bool {
	a, b := c.App, other.App
	return c.Token.Equal(other.Token) && a.ClientID == b.ClientID && a.InstallationID == b.InstallationID && a.PrivateKey.Equal(b.PrivateKey)
}

// key identifies a credential at a server without giving it away. That of an App
// outlives its tokens and keys: GitHub's answers and limits are the
// installation's.
func (c Credential) key(api string) string {
	if c.isApp() {
		return digest(api, "app", c.App.ClientID, fmt.Sprint(c.App.InstallationID))
	}
	return digest(api, c.Token.Reveal())
}

func digest(parts ...string) string {
	hash := sha256.New()
	for i, part := range parts {
		if i > 0 {
			hash.Write([]byte{0})
		}
		hash.Write([]byte(part))
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// refused is the advice where GitHub refuses it.
func (c Credential) refused() string {
	if c.isApp() {
		return "check the GitHub App of the option github-app-client-id: GitHub refuses its token"
	}
	return fmt.Sprintf("check the option %s: GitHub refuses it", cmp.Or(c.Option, "token"))
}

// weak is the advice where it is right, and not enough for a place.
func (c Credential) weak(place any) string {
	if c.isApp() {
		return fmt.Sprintf("give the GitHub App the permission to manage the self-hosted runners of %s", place)
	}
	return fmt.Sprintf("give the token the right to manage the self-hosted runners of %s", place)
}

// blind is the advice where it sees nothing at a place.
func (c Credential) blind(scope runner.Scope) string {
	if c.isApp() {
		return fmt.Sprintf("check the option path (%s), and whether the GitHub App is installed there and may manage its runners", scope)
	}
	return fmt.Sprintf("check the option path (%s), and whether the token may manage its runners", scope)
}
