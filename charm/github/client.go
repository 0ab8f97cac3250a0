// Package github is the client for the part of GitHub's REST API that runners
// need: registrations, runner groups, the runner application and jobs, of
// repositories and organisations, on github.com and on enterprise servers.
//
// Every call is made once and has a deadline. Nothing is retried and nothing
// waits for a rate limit: the errors say what happened in the terms of package
// runner, and the caller decides.
package github

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	gh "github.com/google/go-github/v62/github"
	"github.com/sirupsen/logrus"
	"golang.org/x/net/http/httpproxy"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

const (
	defaultTimeout   = 30 * time.Second
	defaultUserAgent = "github-runner-charm"
)

var _ runner.GitHub = (*Client)(nil)

// Options is what a Client works with.
type Options struct {
	// Token authorises every call.
	Token secret.Text
	// Former are tokens for scopes that runners still have registrations in,
	// but that are no longer the configured one. One is used to look after
	// these registrations where Token gets 401, 403 or 404, never to make a
	// new one.
	Former map[runner.Scope]secret.Text
	// Proxy is how GitHub is reached. The process's environment has no say.
	Proxy Proxy
	// UserAgent names the caller; GitHub asks for one. Default
	// "github-runner-charm".
	UserAgent string
	// Cache keeps what GitHub answered, with its ETags, from one process to the
	// next; nil keeps it only as long as the Client.
	Cache Cache
	// Timeout bounds each call, default 30 s.
	Timeout time.Duration
	// Way is how calls reach the server.
	Way Way
	// Log is told of every call at level debug; nil for nobody.
	Log *logrus.Entry
}

// Way is how calls reach a server. The zero value is by TCP; a simulation has
// another.
type Way struct {
	// Dial opens a connection; nil: by TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Carry gets what carries calls, and returns what is called in its place;
	// nil: itself.
	Carry func(http.RoundTripper) http.RoundTripper
}

// Proxy is the proxies for http and https URLs, and the hosts that are reached
// without, in the form of the variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
type Proxy struct {
	HTTP    string
	HTTPS   string
	NoProxy string
}

// Client talks to GitHub. It may be used by several goroutines, and keeps no
// connection open beyond Close.
type Client struct {
	options   Options
	transport *http.Transport
	carrier   http.RoundTripper
	answers   *answers
	log       *logrus.Entry

	mu sync.Mutex
	// proven is the token that last listed a scope: with it, a 404 is about
	// the thing that was asked for, not about the scope.
	proven map[runner.Scope]secret.Text
	// limited is until when a token's calls are refused without asking GitHub,
	// which counts calls made in spite of a limit against the caller.
	limited map[string]time.Time
	groups  map[groupKey]int64
	// asking keeps several registrations from each looking up the same group.
	asking sync.Mutex
}

// New returns a client. It makes no call.
func New(options Options) *Client {
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	if options.UserAgent == "" {
		options.UserAgent = defaultUserAgent
	}
	log := options.Log
	if log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		log = logrus.NewEntry(silent)
	}
	proxies := httpproxy.Config{
		HTTPProxy:  options.Proxy.HTTP,
		HTTPSProxy: options.Proxy.HTTPS,
		NoProxy:    options.Proxy.NoProxy,
	}
	proxy := proxies.ProxyFunc()
	transport := &http.Transport{
		Proxy:                 func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:           options.Way.Dial,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: options.Timeout,
	}
	var carrier http.RoundTripper = transport
	if options.Way.Carry != nil {
		carrier = options.Way.Carry(transport)
	}
	return &Client{
		options:   options,
		transport: transport,
		carrier:   carrier,
		answers:   newAnswers(options.Cache, log),
		log:       log,
		proven:    map[runner.Scope]secret.Text{},
		limited:   map[string]time.Time{},
		groups:    map[groupKey]int64{},
	}
}

// Close ends idle connections.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
}

// call is one request to GitHub.
type call struct {
	scope   runner.Scope
	token   secret.Text
	refusal refusal
}

// do makes one call with a deadline and turns what went wrong into an error of
// package runner. The function it is given returns errBadAnswer for an answer
// that can't be GitHub's.
func (c *Client) do(ctx context.Context, call call, ask func(context.Context, *gh.ActionsService) error) error {
	base, err := parseBase(call.scope.API)
	if err != nil {
		return err
	}
	if call.token.IsZero() {
		return runner.Trouble{Advice: "set the option token", Err: runner.ErrUnauthorized}
	}
	key := keyOf(call.scope.API, call.token)
	if until := c.limitOf(key); !until.IsZero() {
		return runner.RateLimited{Until: until}
	}
	wire := &wire{
		base:    c.carrier,
		host:    base.Host,
		token:   call.token,
		key:     key,
		answers: c.answers,
		log:     c.log,
	}
	api := gh.NewClient(&http.Client{Transport: wire, CheckRedirect: wire.redirect})
	api.BaseURL = base
	api.UserAgent = c.options.UserAgent

	within, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	err = ask(within, api.Actions)
	if err == nil {
		c.answers.keep(wire.fresh)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = call.explain(err, wire.status)
	var limit runner.RateLimited
	if errors.As(err, &limit) {
		c.limit(key, limit.Until)
	}
	return err
}

func (c *Client) limitOf(key string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.limited[key]
	if time.Now().Before(until) {
		return until
	}
	delete(c.limited, key)
	return time.Time{}
}

func (c *Client) limit(key string, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limited[key] = until
}

// access returns the token that can see a scope, which it asks GitHub for if
// nothing has been listed there yet.
func (c *Client) access(ctx context.Context, scope runner.Scope) (secret.Text, error) {
	c.mu.Lock()
	token, ok := c.proven[scope]
	c.mu.Unlock()
	if ok {
		return token, nil
	}
	_, token, err := c.page(ctx, scope, secret.Text{}, 1)
	return token, err
}

// tokens are those to try for a scope, the most promising first.
func (c *Client) tokens(scope runner.Scope) []secret.Text {
	former, ok := c.options.Former[scope]
	if !ok || former.IsZero() || former.Equal(c.options.Token) {
		return []secret.Text{c.options.Token}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proven[scope].Equal(former) {
		return []secret.Text{former, c.options.Token}
	}
	return []secret.Text{c.options.Token, former}
}

func (c *Client) prove(scope runner.Scope, token secret.Text) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven[scope] = token
}

func (c *Client) doubt(scope runner.Scope) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.proven, scope)
}

// parseBase makes what go-github wants of a scope's API address.
func parseBase(api string) (*url.URL, error) {
	base, err := url.Parse(api)
	if err != nil || (base.Scheme != "https" && base.Scheme != "http") || base.Host == "" || base.User != nil {
		return nil, runner.Trouble{Advice: "check the option github-url", Err: fmt.Errorf("%q is no http or https URL of a server", api)}
	}
	base.Path = strings.TrimSuffix(base.Path, "/") + "/"
	return base, nil
}

// keyOf identifies a token at a server without giving it away.
func keyOf(api string, token secret.Text) string {
	sum := sha256.Sum256([]byte(api + "\x00" + token.Reveal()))
	return hex.EncodeToString(sum[:16])
}

// owner and repository are the two halves of a scope's path as they stand in a
// URL: go-github joins them unquoted.
func owner(scope runner.Scope) string {
	name, _, _ := strings.Cut(scope.Path, "/")
	return url.PathEscape(name)
}

func repository(scope runner.Scope) string {
	_, name, _ := strings.Cut(scope.Path, "/")
	return url.PathEscape(name)
}
