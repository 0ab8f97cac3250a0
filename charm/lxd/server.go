package lxd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/gorilla/websocket"

	"github-runner/charm/runner"
)

// instances is the part of LXD's client that deals with runners.
type instances interface {
	GetInstance(name string) (*api.Instance, string, error)
	GetInstanceConsoleLog(name string, args *lxd.InstanceConsoleLogArgs) (io.ReadCloser, error)
	GetOperations() ([]api.Operation, error)
	DoHTTP(request *http.Request) (*http.Response, error)
	RawWebsocket(path string) (*websocket.Conn, error)
}

// surroundings is the part of LXD's client that deals with what runners need.
type surroundings interface {
	GetServer() (*api.Server, string, error)
	GetNetworks() ([]api.Network, error)
	GetNetworkACL(name string) (*api.NetworkACL, string, error)
	GetProfiles() ([]api.Profile, error)
	GetStoragePools() ([]api.StoragePool, error)
	GetStoragePool(name string) (*api.StoragePool, string, error)
	GetImageAliasType(kind, name string) (*api.ImageAliasesEntry, string, error)
	GetImage(fingerprint string) (*api.Image, string, error)
	GetImages() ([]api.Image, error)
}

// writer sends what changes something. The client's typed calls for networks,
// pools and ACLs return before a server since 6.8 has finished, and those for
// instances open one more event connection each.
type writer interface {
	RawQuery(method, path string, body any, etag string) (*api.Response, string, error)
}

// server is one connection to the daemon. It lives as long as its context.
type server struct {
	instances
	surroundings
	writer
	ctx context.Context
}

// connect returns a server whose calls all end with ctx, or after the deadline
// at the latest.
func (c *Cloud) connect(ctx context.Context, deadline time.Duration) (server, context.CancelFunc, error) {
	late := fmt.Errorf("LXD is %w: it has not finished within %s; restart LXD if this lasts", runner.ErrUnreachable, deadline)
	ctx, cancel := context.WithTimeoutCause(ctx, deadline, late)
	server, err := c.bind(ctx)
	if err != nil {
		cancel()
	}
	return server, cancel, err
}

// bind returns a server whose calls all end with ctx. The socket is dialled anew
// for each of them, so that a daemon that restarted meanwhile is simply found
// again.
func (c *Cloud) bind(ctx context.Context) (server, error) {
	client, err := lxd.ConnectLXDUnixWithContext(ctx, c.config.socket(), &lxd.ConnectionArgs{
		UserAgent:     "github-runner",
		SkipGetServer: true,
		TransportWrapper: func(inner *http.Transport) lxd.HTTPTransporter {
			return c.config.Host.bound(ctx, inner)
		},
	})
	if err != nil {
		return server{}, fmt.Errorf("cannot use LXD at %s: %w", c.config.socket(), err)
	}
	return server{instances: client, surroundings: client, writer: client, ctx: ctx}, nil
}

// boundTransport ties every request to one context: some of the client's calls
// have none. What only asks gets a shorter deadline than what may take its time.
type boundTransport struct {
	ctx    context.Context
	inner  *http.Transport
	writes http.RoundTripper
	reads  http.RoundTripper
}

// bound ties a transport's connections, websockets included, and requests to ctx.
func (h Host) bound(ctx context.Context, inner *http.Transport) boundTransport {
	dial := inner.DialContext
	if h.Dial != nil {
		dial = h.Dial
	}
	inner.DialContext = func(_ context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		connection := closeOnce{Conn: raw, close: sync.OnceValue(raw.Close)}
		context.AfterFunc(ctx, func() { connection.Close() })
		return connection, nil
	}
	reads := inner.Clone()
	reads.ResponseHeaderTimeout = callDeadline
	return boundTransport{ctx: ctx, inner: inner, writes: h.carrier(inner), reads: h.carrier(reads)}
}

// closeOnce is a connection that may be closed twice: the websocket library prints
// the error of the second time.
type closeOnce struct {
	net.Conn
	close func() error
}

// Close closes the connection.
func (c closeOnce) Close() error {
	return c.close()
}

// Transport returns the transport underneath, for websockets.
func (t boundTransport) Transport() *http.Transport {
	return t.inner
}

// RoundTrip sends the request.
func (t boundTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	transport := t.writes
	if request.Method == http.MethodGet && !strings.HasSuffix(request.URL.Path, "/wait") {
		transport = t.reads
	}
	return transport.RoundTrip(request.WithContext(t.ctx))
}

// change sends a request and waits until what it asks for is done, whether the
// server answers at once or with an operation.
func (s server) change(method, path string, body any, etag string) error {
	_, err := s.perform(method, path, body, etag)
	return err
}

// perform is change that returns what the operation said at its end; nil where the
// server answered at once.
func (s server) perform(method, path string, body any, etag string) (map[string]any, error) {
	response, _, err := s.RawQuery(method, "/1.0"+path, body, etag)
	if err != nil {
		return nil, s.explain(err)
	}
	if response.Type != api.AsyncResponse {
		return nil, nil
	}
	operation, err := response.MetadataAsOperation()
	if err != nil {
		return nil, fmt.Errorf("cannot understand LXD's answer to %s %s: %w", method, path, err)
	}
	if err := s.wait(operation); err != nil {
		return nil, err
	}
	return operation.Metadata, nil
}

// wait blocks until the operation has ended and returns its failure. An operation
// whose caller gave up goes on: what it leaves is found by List.
func (s server) wait(operation *api.Operation) error {
	for !operation.StatusCode.IsFinal() {
		response, _, err := s.RawQuery(http.MethodGet, "/1.0/operations/"+url.PathEscape(operation.ID)+"/wait?timeout=-1", nil, "")
		if err != nil {
			return s.explain(err)
		}
		if err := response.MetadataAsStruct(operation); err != nil {
			return fmt.Errorf("cannot understand the state of LXD's operation %s: %w", operation.ID, err)
		}
	}
	if operation.StatusCode == api.Success {
		return nil
	}
	if operation.Err == "" {
		return classify(fmt.Errorf("LXD ended the operation as %s", operation.Status))
	}
	return classify(errors.New(operation.Err))
}

// explain says why a call has failed: where its time was over, the words of
// whatever noticed first say nothing.
func (s server) explain(err error) error {
	if late := context.Cause(s.ctx); errors.Is(late, runner.ErrUnreachable) {
		return late
	}
	return classify(err)
}

// apiPath builds an API path out of names that may hold anything.
func apiPath(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}

// statusKinds says what an HTTP status means to the manager.
var statusKinds = map[int]error{
	http.StatusUnauthorized: runner.ErrUnauthorized,
	http.StatusForbidden:    runner.ErrForbidden,
	http.StatusNotFound:     runner.ErrNotFound,
	http.StatusConflict:     runner.ErrExists,
}

// quotaWords are what LXD says when there is no room; it has no codes for it.
var quotaWords = []string{"no space left", "out of disk space", "disk quota exceeded", "cannot allocate memory", "no available ip", "reached maximum"}

// classify puts the manager's kind of error around LXD's own.
func classify(err error) error {
	if err == nil || isClassified(err) || errors.Is(err, context.Canceled) {
		return err
	}
	words := strings.ToLower(err.Error())
	for _, quota := range quotaWords {
		if strings.Contains(words, quota) {
			return fmt.Errorf("%w: %w", runner.ErrQuota, err)
		}
	}
	status, isStatus := api.StatusErrorMatch(err)
	if kind, ok := statusKinds[status]; isStatus && ok {
		return fmt.Errorf("%w: %w", kind, err)
	}
	var network *url.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || status == http.StatusServiceUnavailable {
		return fmt.Errorf("LXD is %w: %w", runner.ErrUnreachable, err)
	}
	return err
}

func isClassified(err error) bool {
	for _, kind := range []error{runner.ErrQuota, runner.ErrUnreachable, runner.ErrUnauthorized, runner.ErrForbidden, runner.ErrNotFound, runner.ErrExists} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// busyWords are LXD's, which has no code for it either.
var busyWords = []string{"busy running", "instance is busy", "instance is being", "matching non-reusable operation"}

// isBusy reports whether LXD refused because something else is happening to the
// instance.
func isBusy(err error) bool {
	words := strings.ToLower(err.Error())
	return slices.ContainsFunc(busyWords, func(busy string) bool { return strings.Contains(words, busy) })
}
