// Package github is the client for the part of GitHub's REST API that runners
// need: registrations, runner groups, the runner application and jobs, of
// repositories and organisations, on github.com and on enterprise servers.
//
// Every call is made once and has a deadline. Nothing is retried, but what GitHub
// refused a GitHub App's old token for, and nothing waits for a rate limit: the
// errors say what happened in the terms of package runner, and the caller decides.
package github

import (
	"context"
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
	"golang.org/x/sync/singleflight"

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
	// Credential authorises every call.
	Credential Credential
	// Former are credentials for scopes that runners still have registrations
	// in, but that are no longer the configured one. One is used to look after
	// these registrations where Credential gets 401, 403 or 404, never to make
	// a new one.
	Former map[runner.Scope]Credential
	// Proxy is how GitHub is reached. The process's environment has no say.
	Proxy Proxy
	// UserAgent names the caller; GitHub asks for one. Default
	// "github-runner-charm".
	UserAgent string
	// Cache keeps what GitHub answered, with its ETags, from one process to the
	// next; nil keeps it only as long as the Client.
	Cache Cache
	// Tokens keeps the tokens of GitHub Apps from one process to the next: a
	// place that others can't read. Nil keeps them as long as the Client.
	Tokens Cache
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
	appTokens *appTokens
	// renewals keeps several calls from each getting a token for one App.
	renewals singleflight.Group
	log      *logrus.Entry

	pace pace

	mu sync.Mutex
	// proven is the credential that last listed a scope: with it, a 404 is about
	// the thing that was asked for, not about the scope.
	proven map[runner.Scope]Credential
	// limited is until when a credential's calls are refused without asking GitHub,
	// which counts calls made in spite of a limit against the caller.
	limited map[string]time.Time
	groups  map[groupKey]int64
	budget  Budget
	// asking is the turn of the one that looks up a group: several registrations need
	// not each look up the same one.
	asking chan struct{}
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
		appTokens: newAppTokens(options.Tokens, log),
		log:       log,
		proven:    map[runner.Scope]Credential{},
		limited:   map[string]time.Time{},
		asking:    make(chan struct{}, 1),
		groups:    map[groupKey]int64{},
	}
}

// Close ends idle connections.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
}

// call is one request to GitHub.
type call struct {
	scope      runner.Scope
	credential Credential
	refusal    refusal
	// token is what it is sent with.
	token secret.Text
}

// do is query for the calls about actions.
func (c *Client) do(ctx context.Context, call call, ask func(context.Context, *gh.ActionsService) error) error {
	return c.query(ctx, call, func(ctx context.Context, api *gh.Client) error { return ask(ctx, api.Actions) })
}

// query makes one call with a deadline and turns what went wrong into an error of
// package runner. The function it is given returns errBadAnswer for an answer
// that can't be GitHub's.
func (c *Client) query(ctx context.Context, call call, ask func(context.Context, *gh.Client) error) error {
	if _, err := parseBase(call.scope.API); err != nil {
		return err
	}
	if call.credential.IsZero() {
		return runner.Trouble{Advice: "set the option token", Err: runner.ErrUnauthorized}
	}
	key := call.credential.key(call.scope.API)
	if until := c.limitOf(key); !until.IsZero() {
		return runner.RateLimited{By: service, Until: until}
	}
	within, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	token, err := c.authorise(within, call, secret.Text{})
	if err == nil {
		err = c.send(within, call, token, ask)
	}
	err = c.again(within, call, token, err, ask)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	var limit runner.RateLimited
	if errors.As(err, &limit) {
		c.limit(key, limit.Until)
	}
	return err
}

// send makes one call with a token.
func (c *Client) send(ctx context.Context, call call, token secret.Text, ask func(context.Context, *gh.Client) error) error {
	base, err := parseBase(call.scope.API)
	if err != nil {
		return err
	}
	call.token = token
	wire := &wire{
		base:    c.carrier,
		host:    base.Host,
		token:   token,
		key:     call.credential.key(call.scope.API),
		answers: c.answers,
		told:    c.noteBudget,
		log:     c.log,
	}
	api := gh.NewClient(&http.Client{Transport: wire, CheckRedirect: wire.redirect})
	api.BaseURL = base
	api.UserAgent = c.options.UserAgent
	if err := ask(ctx, api); err != nil {
		return call.explain(err, wire.status)
	}
	c.answers.keep(wire.fresh)
	return nil
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

// access returns the credential that can see a scope, which it asks GitHub for if
// nothing has been listed there yet.
func (c *Client) access(ctx context.Context, scope runner.Scope) (Credential, error) {
	c.mu.Lock()
	credential, ok := c.proven[scope]
	c.mu.Unlock()
	if ok {
		return credential, nil
	}
	_, credential, err := c.page(ctx, scope, Credential{}, 1)
	return credential, err
}

// credentials are those to try for a scope, the most promising first.
func (c *Client) credentials(scope runner.Scope) []Credential {
	current := c.options.Credential
	former, ok := c.options.Former[scope]
	if !ok || former.IsZero() || former.equal(current) {
		return []Credential{current}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proven[scope].equal(former) {
		return []Credential{former, current}
	}
	return []Credential{current, former}
}

func (c *Client) prove(scope runner.Scope, credential Credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven[scope] = credential
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
