package openstack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/sirupsen/logrus"

	"github-runner/charm/clouds"
	"github-runner/charm/runner"
)

// session is what is kept between calls: the connections, and a token. It logs in
// when it is first used, and once more when its token has ended.
type session struct {
	cloud    clouds.Cloud
	way      way
	log      *logrus.Entry
	services kept[services]
	// transport is that of the last login.
	transport atomic.Pointer[http.Transport]
}

// way is how calls reach OpenStack: what opens connections, and says by which proxy.
type way struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	route func(*http.Request) (*url.URL, error)
	// carry wraps what carries calls; nil: nothing does.
	carry func(http.RoundTripper) http.RoundTripper
}

// services are the clients of OpenStack's services, all with one token.
type services struct {
	compute *gophercloud.ServiceClient
	network *gophercloud.ServiceClient
	image   *gophercloud.ServiceClient
}

func newSession(cloud clouds.Cloud, way way, log *logrus.Entry) *session {
	return &session{cloud: cloud, way: way, log: log, services: newKept[services]()}
}

// close ends idle connections.
func (s *session) close() {
	if transport := s.transport.Load(); transport != nil {
		transport.CloseIdleConnections()
	}
}

// open returns the services, logged in.
func (s *session) open(ctx context.Context) (services, error) {
	return s.services.get(ctx, func(ctx context.Context) (services, error) {
		made, err := s.login(ctx)
		return made, cannot(err, "log in to OpenStack at %s", s.cloud.AuthURL)
	})
}

func (s *session) login(ctx context.Context) (services, error) {
	provider, err := openstack.NewClient(s.cloud.AuthURL)
	if err != nil {
		return services{}, err
	}
	carrier, err := s.carrier()
	if err != nil {
		return services{}, err
	}
	provider.HTTPClient = http.Client{Transport: carrier, Timeout: callDeadline, CheckRedirect: stayThere}
	provider.UserAgent.Prepend("github-runner")
	if err := openstack.Authenticate(ctx, provider, loginOptions(s.cloud)); err != nil {
		return services{}, err
	}
	again := provider.ReauthFunc
	provider.ReauthFunc = func(ctx context.Context) error {
		// All who need the new token wait for it, whatever becomes of them: it ends with
		// the first, for who has to give way takes all of its calls along.
		ctx, cancel := context.WithTimeout(ctx, callDeadline)
		defer cancel()
		return again(ctx)
	}
	return s.find(ctx, provider)
}

// find looks up where the services are, and what Nova can do.
func (s *session) find(ctx context.Context, provider *gophercloud.ProviderClient) (found services, err error) {
	if answer, ok := provider.GetAuthResult().(tokens.CreateResult); ok {
		catalog, err := answer.ExtractServiceCatalog()
		if err != nil {
			return found, fmt.Errorf("cannot read Keystone's catalog: %w", err)
		}
		// gophercloud's own asks the services for their versions until they answer.
		provider.EndpointLocator = func(options gophercloud.EndpointOpts) (string, error) {
			return openstack.V3Endpoint(ctx, provider, catalog, options)
		}
	}
	where := gophercloud.EndpointOpts{Region: s.cloud.Region, Availability: gophercloud.Availability(s.cloud.Interface)}
	if found.compute, err = openstack.NewComputeV2(provider, where); err != nil {
		return found, fmt.Errorf("cannot find Nova: %w", err)
	}
	if found.network, err = openstack.NewNetworkV2(provider, where); err != nil {
		return found, fmt.Errorf("cannot find Neutron: %w", err)
	}
	if found.image, err = openstack.NewImageV2(provider, where); err != nil {
		return found, fmt.Errorf("cannot find Glance: %w", err)
	}
	found.compute.Microversion, err = microversion(ctx, found.compute)
	return found, err
}

// loginOptions are gophercloud's, with one domain for the user and one for the
// project.
func loginOptions(cloud clouds.Cloud) gophercloud.AuthOptions {
	options := gophercloud.AuthOptions{
		IdentityEndpoint:            cloud.AuthURL,
		Username:                    cloud.User.Name,
		UserID:                      cloud.User.ID,
		Password:                    cloud.Password.Reveal(),
		ApplicationCredentialID:     cloud.Credential.ID,
		ApplicationCredentialName:   cloud.Credential.Name,
		ApplicationCredentialSecret: cloud.Credential.Secret.Reveal(),
		AllowReauth:                 true,
	}
	if cloud.User.Name != "" {
		options.DomainID, options.DomainName = cloud.User.Domain.ID, cloud.User.Domain.Name
	}
	if cloud.Credential.IsZero() {
		options.Scope = &gophercloud.AuthScope{
			ProjectID: cloud.Project.ID, ProjectName: cloud.Project.Name,
			DomainID: cloud.Project.Domain.ID, DomainName: cloud.Project.Domain.Name,
		}
	} else {
		// It is for the project that it was made in.
		options.Scope = &gophercloud.AuthScope{}
	}
	return options
}

// carrier carries calls, with the trust that the clouds.yaml asks for. A file with
// certificates is read anew for each login.
func (s *session) carrier() (http.RoundTripper, error) {
	trust := &tls.Config{InsecureSkipVerify: s.cloud.Insecure}
	certificates := []byte(s.cloud.CACert)
	if path := s.cloud.CACertFile; path != "" {
		var err error
		if certificates, err = os.ReadFile(path); err != nil {
			return nil, runner.Trouble{Advice: "put the file there that cacert in " + optionClouds + " names, or give the certificate itself", Err: err}
		}
	}
	if len(certificates) > 0 {
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(certificates) {
			return nil, runner.Trouble{Advice: "put certificates in PEM into the file that cacert in " + optionClouds + " names", Err: errors.New("the file has none")}
		}
	}
	transport := &http.Transport{
		Proxy:             s.way.route,
		DialContext:       s.way.dial,
		TLSClientConfig:   trust,
		ForceAttemptHTTP2: true,
		// As many as servers are made at the same time.
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	if last := s.transport.Swap(transport); last != nil {
		last.CloseIdleConnections()
	}
	inner := http.RoundTripper(transport)
	if s.way.carry != nil {
		inner = s.way.carry(transport)
	}
	return observed{inner: inner, log: s.log}, nil
}

// stayThere keeps tokens where they belong: a redirection to another place is not
// followed.
func stayThere(request *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) >= 10 || request.URL.Host != first.Host || request.URL.Scheme != first.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}

// maxAnswer bounds what is read of one answer: a list of 1,000 servers has 3 MB.
const maxAnswer = 64 << 20

// observed tells of calls, and bounds their answers.
type observed struct {
	inner http.RoundTripper
	log   *logrus.Entry
}

// RoundTrip sends the request.
func (o observed) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := o.inner.RoundTrip(request)
	log := o.log.WithFields(logrus.Fields{"method": request.Method, "path": request.URL.Path, "took": time.Since(began)})
	if err != nil {
		log.WithError(err).Debug("OpenStack did not answer")
		return nil, err
	}
	log.WithFields(logrus.Fields{"status": response.StatusCode, "request": response.Header.Get("X-Openstack-Request-Id")}).Debug("OpenStack answered")
	response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	return response, nil
}
