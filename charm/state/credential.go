package state

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github-runner/charm/pattern"
	"github-runner/charm/secret"
)

// Credential is what the charm shows GitHub: a personal access token or a GitHub
// App, never both. The zero value is neither.
type Credential struct {
	// Token is a personal access token; empty where App is given.
	Token secret.Text
	// TokenBySecret is set where Token came by a Juju secret.
	TokenBySecret bool
	// App is a GitHub App; its zero value where Token is given.
	App App
}

// App is an installation of a GitHub App.
type App struct {
	// ClientID is the App's name for itself.
	ClientID string
	// InstallationID is the number of its installation in an account.
	InstallationID int64
	// PrivateKey is an RSA key of the App's, as PEM in PKCS #1 or PKCS #8.
	PrivateKey secret.Text
}

// IsZero reports whether there is neither a token nor an App.
func (c Credential) IsZero() bool {
	return c.Token.IsZero() && c.App == App{}
}

// isValid reports whether New makes it.
func (c Credential) isValid() bool {
	if c.App == (App{}) {
		return isToken(c.Token.Reveal())
	}
	return c.Token.IsZero() && !c.TokenBySecret &&
		clientID.Matches(c.App.ClientID) && c.App.InstallationID > 0 && isPrivateKey(c.App.PrivateKey.Reveal())
}

// The fields of the secrets that the options name.
const (
	fieldToken      = "github-token"
	fieldPrivateKey = "private-key"
)

const (
	rightToken = "give a personal access token as GitHub showed it, without spaces or line breaks in it"
	rightApp   = "a GitHub App needs github-app-client-id, github-app-installation-id and github-app-private-key-secret-id"
	rightKey   = "give the .pem file that GitHub made for the App: an RSA key of at least 2048 bits, in PEM"
)

// clientID is more than GitHub makes: "Iv23li8oGqvfLbnMjE0V", or an older App's
// "Iv1.8a61f9b3a7aba766", or its number, which GitHub takes as well.
var clientID = pattern.UpTo(64, `^[A-Za-z0-9._-]+$`)

// credential returns the token or the App. A token from a secret wins over the
// one in the option token.
func (r *reader) credential() Credential {
	tokens := r.given(optionToken, optionTokenSecret)
	apps := r.given(optionAppClient, optionAppInstallation, optionAppKey)
	switch {
	case len(tokens) > 0 && len(apps) > 0:
		r.reject(Problem{
			Option: strings.Join(append(tokens, apps...), ", "),
			Fault:  "exclude each other",
			Right:  fmt.Sprintf("reset %s to use a GitHub App, or %s to use a token", strings.Join(tokens, ","), strings.Join(apps, ",")),
		})
	case len(apps) > 0:
		return Credential{App: r.app()}
	case slices.Contains(tokens, optionTokenSecret):
		return Credential{Token: r.secretToken(), TokenBySecret: true}
	default:
		return Credential{Token: r.token()}
	}
	return Credential{}
}

// given are those of some options that have a value.
func (r *reader) given(options ...string) []string {
	var given []string
	for _, option := range options {
		if r.isSet(option) {
			given = append(given, option)
		}
	}
	return given
}

func (r *reader) token() secret.Text {
	token := r.text(optionToken)
	if token == "" {
		r.missing(optionToken, "give a personal access token for GitHub, by token-secret-id or token, or a GitHub App")
		return secret.Text{}
	}
	if !isToken(token) {
		r.hidden(optionToken, rightToken)
		return secret.Text{}
	}
	return secret.New(token)
}

func (r *reader) secretToken() secret.Text {
	token, ok := r.secretField(optionTokenSecret, fieldToken)
	if ok && !isToken(token) {
		r.invalidField(optionTokenSecret, fieldToken, rightToken)
		return secret.Text{}
	}
	return secret.New(token)
}

func (r *reader) app() App {
	app := App{ClientID: r.text(optionAppClient)}
	switch {
	case app.ClientID == "":
		r.missing(optionAppClient, rightApp)
	case !clientID.Matches(app.ClientID):
		// Somebody may have put the key here.
		r.hidden(optionAppClient, "give the client ID on the App's page at GitHub, such as Iv23li8oGqvfLbnMjE0V")
	}
	app.InstallationID = r.installation()
	if !r.isSet(optionAppKey) {
		r.missing(optionAppKey, rightApp)
		return app
	}
	key, ok := r.secretField(optionAppKey, fieldPrivateKey)
	if ok && !isPrivateKey(key) {
		r.invalidField(optionAppKey, fieldPrivateKey, rightKey)
	}
	app.PrivateKey = secret.New(key)
	return app
}

// installation returns the number of the App's installation.
func (r *reader) installation() int64 {
	if !r.isSet(optionAppInstallation) {
		r.missing(optionAppInstallation, rightApp)
		return 0
	}
	number, ok := asInt(r.config[optionAppInstallation])
	if !ok || number < 0 {
		r.invalid(optionAppInstallation, fmt.Sprint(r.config[optionAppInstallation]), "give the number at the end of the installation's address at GitHub, …/settings/installations/NUMBER")
		return 0
	}
	return number
}

// minKeyBits is the size of the keys that GitHub makes.
const minKeyBits = 2048

// isPrivateKey reports whether text is one RSA key as GitHub takes it, in PEM and
// without a password. Why not stays unsaid: the parsers' errors may quote it.
func isPrivateKey(text string) bool {
	block, rest := pem.Decode([]byte(text))
	if block == nil || strings.TrimSpace(string(rest)) != "" {
		return false
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return false
	}
	private, ok := key.(*rsa.PrivateKey)
	return err == nil && ok && private.N.BitLen() >= minKeyBits
}
