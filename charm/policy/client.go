package policy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github-runner/charm/pattern"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// Client asks an external service of this protocol for the one-time tokens that
// runners ask it with.
type Client struct {
	// URL is where the service is, without a slash at its end.
	URL string
	// Token is the service's own, which no runner gets.
	Token secret.Text
	// Transport carries the requests; nil for the usual one.
	Transport http.RoundTripper
}

const (
	issueDeadline = 20 * time.Second
	// maxIssued bounds what is read of an answer: a token, or a reason.
	maxIssued = 1 << 10
)

// issued is what a service may give: 64 hexadecimal digits by the protocol.
var issued = pattern.Between(16, 256, `^[0-9A-Za-z._~+/=-]+$`)

// Issue returns a one-time token. Its error names the option to change where the
// service refuses the token that it was asked with: runner.ErrUnauthorized; else it is
// runner.ErrUnreachable.
func (c Client) Issue(ctx context.Context) (secret.Text, error) {
	ctx, cancel := context.WithTimeout(ctx, issueDeadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/one-time-token", nil)
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot ask the policy service for a token: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Token.Reveal())
	client := http.Client{Transport: c.Transport, CheckRedirect: stay}
	answer, err := client.Do(request)
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot ask the policy service for a token: %w: %w", runner.ErrUnreachable, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxIssued))
	if err != nil {
		return secret.Text{}, fmt.Errorf("cannot ask the policy service at %s for a token: %w: %w", c.URL, runner.ErrUnreachable, err)
	}
	token := strings.TrimSpace(string(body))
	switch {
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return secret.Text{}, runner.Trouble{
			Advice: "repo-policy-compliance-token is refused by the service at " + c.URL + ": give the service's own token",
			Err:    runner.ErrUnauthorized,
		}
	case answer.StatusCode != http.StatusOK:
		return secret.Text{}, fmt.Errorf("cannot ask the policy service at %s for a token: %w: it answers %s", c.URL, runner.ErrUnreachable, answer.Status)
	case !issued.Matches(token):
		return secret.Text{}, fmt.Errorf("cannot ask the policy service at %s for a token: %w: its answer is no token", c.URL, runner.ErrUnreachable)
	}
	return secret.New(token), nil
}

// stay keeps the service's token from being sent to where a service leads to.
func stay(*http.Request, []*http.Request) error {
	return http.ErrUseLastResponse
}
