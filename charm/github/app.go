package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
	gh "github.com/google/go-github/v62/github"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// The times of the signature that an App gets a token with. GitHub takes none
// that begins in its future or ends more than ten minutes ahead: between the two,
// this allows for a clock that is a minute fast or nine minutes slow.
const (
	signedBefore = time.Minute
	signedFor    = 9 * time.Minute
)

const (
	// tokenLife is how long GitHub's tokens for installations are good.
	tokenLife = time.Hour
	// renewBefore is how long before its end a token is replaced.
	renewBefore = 5 * time.Minute
	// renewAgain is how old a token is that GitHub refuses before another one
	// could do better.
	renewAgain = time.Minute
)

// authorise returns the token for a call; refused is one that GitHub has just
// refused, and may be returned again. An App gets a token for all of its calls.
func (c *Client) authorise(ctx context.Context, call call, refused secret.Text) (secret.Text, error) {
	if !call.credential.isApp() {
		return call.credential.Token, nil
	}
	key := call.credential.tokenKey(call.scope.API)
	if token, ok := c.appTokens.find(key, refused); ok {
		return token, nil
	}
	renewed := c.renewals.DoChan(key, func() (any, error) {
		// Another may have been a moment faster.
		if token, ok := c.appTokens.find(key, refused); ok {
			return token, nil
		}
		// Others wait for it as well: it does not end with who asked first. Nor is
		// it written down here, where nobody may hold the unit any more.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Timeout)
		defer cancel()
		made, err := c.exchange(ctx, call)
		if err != nil {
			return secret.Text{}, err
		}
		c.appTokens.keep(key, made)
		return made.Token.Text, nil
	})
	select {
	case done := <-renewed:
		c.appTokens.save()
		token, _ := done.Val.(secret.Text)
		return token, done.Err
	case <-ctx.Done():
		return secret.Text{}, call.explainFailure(ctx.Err(), 0)
	}
}

// exchange gets a token for an App's installation. That the installation is not
// found is never runner.ErrNotFound, which would say that a runner is gone.
func (c *Client) exchange(ctx context.Context, call call) (appToken, error) {
	now := time.Now()
	signature, err := call.credential.App.sign(now)
	if err != nil {
		return appToken{}, err
	}
	app := call.credential.App
	call.refusal = refusal{
		signed:          true,
		forbiddenAdvice: fmt.Sprintf("look at installation %d of the GitHub App, which is suspended or has no permissions", app.InstallationID),
		notFoundAdvice:  fmt.Sprintf("check the options github-app-client-id and github-app-installation-id: GitHub knows no installation %d of the App", app.InstallationID),
	}
	var made appToken
	err = c.send(ctx, call, signature, func(ctx context.Context, api *gh.Client) error {
		answer, _, err := api.Apps.CreateInstallationToken(ctx, app.InstallationID, nil)
		if err != nil {
			return err
		}
		if !isToken(answer.GetToken()) || answer.GetExpiresAt().IsZero() {
			return badAnswer("it gives no token for the GitHub App")
		}
		made = appToken{Token: secret.Stored{Text: secret.New(answer.GetToken())}, Made: now, Expires: now.Add(tokenLife)}
		if end := answer.GetExpiresAt().Time; end.Before(made.Expires) {
			made.Expires = end
		}
		return nil
	})
	if err != nil {
		return appToken{}, fmt.Errorf("cannot get a token for the GitHub App: %w", hidden(err))
	}
	return made, nil
}

// sign makes the JWT that an App proves itself with.
func (a App) sign(now time.Time) (secret.Text, error) {
	// The parser's error may quote the key.
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(a.PrivateKey.Reveal()))
	if err == nil {
		var signed string
		signed, err = jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
			Issuer:    a.ClientID,
			IssuedAt:  jwt.NewNumericDate(now.Add(-signedBefore)),
			ExpiresAt: jwt.NewNumericDate(now.Add(signedFor)),
		}).SignedString(key)
		if err == nil {
			return secret.New(signed), nil
		}
	}
	return secret.Text{}, runner.Trouble{
		Advice: "check the private key in the secret of github-app-private-key-secret-id",
		Err:    fmt.Errorf("%w: it can't sign", runner.ErrUnauthorized),
	}
}

// signatureAdvice says what to do about a signature that GitHub refuses: its
// times may be wrong because the machine's are.
func signatureAdvice(response *http.Response, now time.Time) string {
	if theirs, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		switch ahead := now.Sub(theirs).Round(time.Second); {
		case ahead > signedBefore:
			return fmt.Sprintf("set the clock of the unit's machine: it is %v ahead of GitHub's", ahead)
		case -ahead > signedFor:
			return fmt.Sprintf("set the clock of the unit's machine: it is %v behind GitHub's", -ahead)
		}
	}
	return "check the options github-app-private-key-secret-id and github-app-client-id: GitHub refuses the App's key"
}

// isToken reports whether a token can travel in a header as it is.
func isToken(text string) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return text != "" && len(text) <= 4096
}

// again makes a call that GitHub refused an App's token for, with another token
// if there is one: what is refused has had no effect.
func (c *Client) again(ctx context.Context, call call, used secret.Text, refused error, ask func(context.Context, *gh.Client) error) error {
	if !call.credential.isApp() || used.IsZero() || !errors.Is(refused, runner.ErrUnauthorized) {
		return refused
	}
	token, err := c.authorise(ctx, call, used)
	if err != nil {
		return err
	}
	if token.Equal(used) {
		return refused
	}
	return c.send(ctx, call, token, ask)
}
