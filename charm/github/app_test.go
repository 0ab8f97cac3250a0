package github_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	lab "github-runner/lab/github"
)

// exchange is the call that gets a token for an App.
const exchange = "POST /app/installations/{installation}/access_tokens"

// direct carries calls to a server without a network, so that testing/synctest
// sees all of their waiting.
type direct struct {
	handler http.Handler
	// ahead is by how much the server's clock is fast.
	ahead time.Duration
}

func (d direct) RoundTrip(request *http.Request) (*http.Response, error) {
	asked := request.Clone(request.Context())
	asked.RequestURI, asked.Host = request.URL.RequestURI(), request.URL.Host
	if asked.Body == nil {
		asked.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Date", time.Now().Add(d.ahead).UTC().Format(http.TimeFormat))
	if !d.answers(recorder, asked) {
		return nil, cmp.Or(request.Context().Err(), io.ErrUnexpectedEOF)
	}
	response := recorder.Result()
	response.Request = request
	return response, nil
}

// answers is false where the server hangs up.
func (d direct) answers(w http.ResponseWriter, r *http.Request) (answered bool) {
	defer func() {
		if hungUp := recover(); hungUp != nil && hungUp != http.ErrAbortHandler {
			panic(hungUp)
		}
	}()
	d.handler.ServeHTTP(w, r)
	return true
}

func newDirectWorld(t *testing.T) world {
	t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	server, err := lab.New(lab.Options{Log: logrus.NewEntry(silent)})
	if err != nil {
		t.Fatal(err)
	}
	return world{server, t, "http://github.test"}
}

// app makes an App, as a credential of the charm's.
func (w world) app(account string) github.Credential {
	w.t.Helper()
	made, err := w.AddApp(account)
	if err != nil {
		w.t.Fatal(err)
	}
	return github.Credential{App: github.App{ClientID: made.ClientID, InstallationID: made.InstallationID, PrivateKey: secret.New(made.PrivateKey)}}
}

// direct returns a client that reaches the world without a network.
func (w world) direct(credential github.Credential, change func(*github.Options)) *github.Client {
	options := github.Options{
		Credential: credential,
		Way:        github.Way{Carry: func(http.RoundTripper) http.RoundTripper { return direct{handler: w.Server} }},
	}
	if change != nil {
		change(&options)
	}
	return github.New(options)
}

func (w world) callsOf(endpoint string) lab.Calls {
	for _, calls := range w.Calls() {
		if calls.Endpoint == endpoint {
			return calls
		}
	}
	return lab.Calls{}
}

func (w world) wantExchanges(when string, want int) {
	w.t.Helper()
	if got := w.callsOf(exchange).Total; got != want {
		w.t.Errorf("%s: %d tokens were asked for, want %d", when, got, want)
	}
}

func (w world) list(client *github.Client) {
	w.t.Helper()
	if _, err := client.Runners(w.t.(*testing.T).Context(), w.repository(), ""); err != nil {
		w.t.Errorf("cannot list: %v", err)
	}
}

// together lets some callers list at the same time.
func (w world) together(client *github.Client) {
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { w.list(client) })
	}
	all.Wait()
}

func TestAppTokenIsRenewedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDirectWorld(t)
		w.fault(lab.Fault{Kind: lab.FaultDelay, Delay: time.Second})
		client := w.direct(w.app(""), nil)
		defer client.Close()
		w.together(client)
		w.wantExchanges("twenty calls at once", 1)
		pass(54 * time.Minute)
		w.together(client)
		w.wantExchanges("after 54 minutes", 1)
		pass(time.Minute)
		w.together(client)
		w.wantExchanges("five minutes before its end", 2)
		if lists := w.callsOf("GET /repos/{owner}/{repo}/actions/runners"); lists.Total-lists.NotModified > 20 {
			t.Errorf("with a new token GitHub's answers are fetched anew: %+v", lists)
		}
	})
}

func TestAppTokenIsRenewedWhereGitHubRefusesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDirectWorld(t)
		credential := w.app("")
		client := w.direct(credential, nil)
		defer client.Close()
		w.list(client)
		pass(10 * time.Minute)
		if err := w.ExpireTokens(credential.App.ClientID); err != nil {
			t.Fatal(err)
		}
		w.fault(lab.Fault{Kind: lab.FaultDelay, Delay: time.Second, For: time.Minute})
		w.together(client)
		w.wantExchanges("after its early end", 2)

		// Where no token helps, GitHub is not asked for one with each call.
		pass(10 * time.Minute)
		w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 401, On: "list"})
		for range 5 {
			_, err := client.Runners(t.Context(), w.repository(), "")
			if !errors.Is(err, runner.ErrUnauthorized) {
				t.Errorf("a call that is refused with every token gives %v", err)
			}
			wantAdvice(t, err, "github-app-client-id")
		}
		w.wantExchanges("while all are refused", 3)
		w.ClearFaults(0)
		w.list(client)
		w.wantExchanges("once they are not", 3)
	})
}

func TestAppTokenIsKeptForTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDirectWorld(t)
		credential, cache := w.app(""), &memory{}
		process := func(credential github.Credential) {
			client := w.direct(credential, func(o *github.Options) { o.Tokens = cache })
			defer client.Close()
			w.list(client)
		}
		for range 3 {
			process(credential)
		}
		w.wantExchanges("in three processes", 1)
		if !strings.Contains(string(cache.data), "ghs_") || strings.Contains(string(cache.data), "PRIVATE") {
			t.Errorf("kept is\n%s", cache.data)
		}
		good := cache.data
		for name, data := range map[string]string{
			"not JSON":  "\x00",
			"a list":    "[]",
			"another's": `{"format":"x/1"}`,
			"cut off":   string(good[:len(good)-9]),
			"no tokens": strings.ReplaceAll(string(good), "ghs_", `a\nb`),
		} {
			cache.data, cache.aside = []byte(data), nil
			w.ResetCalls()
			process(credential)
			w.wantExchanges(name, 1)
			if string(cache.aside) != data {
				t.Errorf("%s: set aside is %q", name, cache.aside)
			}
			process(credential)
			w.wantExchanges("after "+name, 1)
		}
		w.ResetCalls()
		pass(time.Hour)
		process(credential)
		w.wantExchanges("after an hour", 1)
		if strings.Count(string(cache.data), "ghs_") != 1 {
			t.Errorf("old tokens are kept:\n%s", cache.data)
		}
		// The token of another key would hide for an hour that this one is wrong.
		wrong := credential
		wrong.App.PrivateKey = w.app("").App.PrivateKey
		client := w.direct(wrong, func(o *github.Options) { o.Tokens = cache })
		defer client.Close()
		if _, err := client.Runners(t.Context(), w.repository(), ""); !errors.Is(err, runner.ErrUnauthorized) {
			t.Errorf("a wrong key, with a good one's token at hand, gives %v", err)
		}
		cache.fail = errors.New("disk full")
		process(credential)
	})
}

// A clock that was set back must not make a token last for ever.
func TestAppTokenFromTheFutureIsNotUsed(t *testing.T) {
	w := newWorld(t, lab.Options{})
	credential, cache := w.app(""), &memory{}
	withCache := func(o *github.Options) { o.Credential, o.Tokens = credential, cache }
	w.list(w.client(withCache))
	year := time.Now().Format(`"made":"2006`)
	cache.data = []byte(strings.Replace(string(cache.data), year, `"made":"2999`, 1))
	w.list(w.client(withCache))
	w.wantExchanges("with one made in 2999", 2)
}

func TestRefusedAppOfEveryCall(t *testing.T) {
	for name, test := range map[string]struct {
		change func(w world, credential *github.Credential)
		want   error
		advice []string
	}{
		"another key": {func(w world, c *github.Credential) { c.App.PrivateKey = w.app("").App.PrivateKey },
			runner.ErrUnauthorized, []string{"github-app-private-key-secret-id", "refuses the App's key"}},
		"no key": {func(_ world, c *github.Credential) { c.App.PrivateKey = secret.New("hunter2") },
			runner.ErrUnauthorized, []string{"github-app-private-key-secret-id"}},
		"unknown App": {func(_ world, c *github.Credential) { c.App.ClientID = "Iv23linobody" },
			runner.ErrForbidden, []string{"github-app-client-id"}},
		"another installation": {func(_ world, c *github.Credential) { c.App.InstallationID++ },
			runner.ErrForbidden, []string{"github-app-installation-id", "no installation"}},
		"suspended": {func(w world, c *github.Credential) { _ = w.SuspendApp(c.App.ClientID, true) },
			runner.ErrForbidden, []string{"installation", "suspended"}},
		"away": {func(w world, _ *github.Credential) {
			w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 503, On: "app-token"})
		}, runner.ErrUnreachable, nil},
		"no token in it": {func(w world, _ *github.Credential) {
			w.fault(lab.Fault{Kind: lab.FaultBody, Status: 201, Body: `{"expires_at":"2999-01-01T00:00:00Z"}`, On: "app-token"})
		}, runner.ErrUnreachable, []string{"github-url"}},
		"no end in it": {func(w world, _ *github.Credential) {
			w.fault(lab.Fault{Kind: lab.FaultBody, Status: 201, Body: `{"token":"hunter2"}`, On: "app-token"})
		}, runner.ErrUnreachable, []string{"github-url"}},
		"slow": {func(w world, _ *github.Credential) {
			w.fault(lab.Fault{Kind: lab.FaultDelay, Delay: time.Hour, On: "app-token"})
		}, runner.ErrUnreachable, nil},
		"not installed there": {func(w world, c *github.Credential) { *c = w.app("others") },
			runner.ErrForbidden, []string{"path", "whether the GitHub App is installed"}},
		"no permission": {func(w world, _ *github.Credential) {
			w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 403, Message: "Resource not accessible by integration", On: "GET *"})
			w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 403, Message: "Resource not accessible by integration", On: "register"})
		}, runner.ErrForbidden, []string{"give the GitHub App the permission"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDirectWorld(t)
				credential := w.app("")
				test.change(w, &credential)
				for verb, ask := range verbs {
					want := test.want
					if name == "not installed there" && verb != "get" && verb != "delete" {
						want = runner.ErrNotFound
					}
					client := w.direct(credential, nil)
					started := time.Now()
					err := ask(t.Context(), client, w.repository())
					client.Close()
					// That the App is not found must not pass for a runner that is gone.
					if !errors.Is(err, want) || errors.Is(err, runner.ErrNotFound) != (want == runner.ErrNotFound) {
						t.Errorf("%s gives %v, want %v", verb, err, want)
						continue
					}
					if want == test.want {
						wantAdvice(t, err, test.advice...)
					}
					if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "eyJ") {
						t.Errorf("%s tells a secret: %v", verb, err)
					}
					if took := time.Since(started); took > 30*time.Second {
						t.Errorf("%s took %v", verb, took)
					}
				}
			})
		})
	}
}

func TestAppThatIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDirectWorld(t)
		client := w.direct(w.app(""), nil)
		defer client.Close()
		w.fault(lab.Fault{Kind: lab.FaultSecondary, RetryAfter: 90, On: "app-token", For: time.Minute})
		for range 3 {
			var limited runner.RateLimited
			if _, err := client.Runners(t.Context(), w.repository(), ""); !errors.As(err, &limited) || time.Until(limited.Until) != 90*time.Second {
				t.Errorf("it gives %v", err)
			}
		}
		w.wantExchanges("while limited", 1)
		pass(91 * time.Second)
		w.list(client)
	})
}

// Whoever gives up waits no longer, and takes nobody along.
func TestWaitForAnAppTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDirectWorld(t)
		client := w.direct(w.app(""), nil)
		defer client.Close()
		w.fault(lab.Fault{Kind: lab.FaultDelay, Delay: 10 * time.Second, On: "app-token"})
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			started := time.Now()
			if _, err := client.Runners(first, w.repository(), ""); !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Second {
				t.Errorf("who gave up got %v after %v", err, time.Since(started))
			}
		})
		synctest.Wait()
		all.Go(func() { w.list(client) })
		all.Wait()
		w.wantExchanges("for both", 1)
	})
}

func TestClockThatIsWrong(t *testing.T) {
	refusing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"message":"'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"}`)
	})
	for ahead, want := range map[time.Duration]string{
		-7 * time.Minute: "set the clock of the unit's machine: it is 7m0s ahead of GitHub's",
		12 * time.Minute: "set the clock of the unit's machine: it is 12m0s behind GitHub's",
		30 * time.Second: "check the options github-app-private-key-secret-id",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newDirectWorld(t)
			client := w.direct(w.app(""), func(o *github.Options) {
				o.Way.Carry = func(http.RoundTripper) http.RoundTripper { return direct{refusing, ahead} }
			})
			defer client.Close()
			_, err := client.Runners(t.Context(), w.repository(), "")
			wantAdvice(t, err, want)
		})
	}
}

// An App takes the way that everything takes, and says nothing of its secrets.
func TestAppByProxyAndItsLog(t *testing.T) {
	w := newWorld(t, lab.Options{})
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		r.URL.Path = "/api/v3" + r.URL.Path
		w.ServeHTTP(out, r)
	}))
	defer proxy.Close()
	var said bytes.Buffer
	log := logrus.New()
	log.SetOutput(&said)
	log.SetLevel(logrus.TraceLevel)
	credential := w.app("")
	client := w.client(func(o *github.Options) {
		o.Credential, o.Proxy, o.Log = credential, github.Proxy{HTTP: proxy.URL}, logrus.NewEntry(log)
	})
	if _, err := client.Runners(testContext(t), runner.Scope{API: "http://github.invalid", Path: "acme/widgets"}, ""); err != nil || len(asked) != 2 {
		t.Errorf("the proxy was asked %v: %v", asked, err)
	}
	for _, told := range []string{"ghs_", "eyJ", "PRIVATE KEY"} {
		if strings.Contains(said.String()+fmt.Sprintf("%v %+v %#v", credential, credential, credential), told) {
			t.Errorf("the log tells %s…:\n%s", told, &said)
		}
	}
}

func TestFormerApp(t *testing.T) {
	w := newWorld(t, lab.Options{})
	former, current := w.app("acme"), w.app("others")
	client := w.client(func(o *github.Options) {
		o.Credential = current
		o.Former = map[runner.Scope]github.Credential{w.repository(): former}
	})
	w.list(client)
	if err := client.Deregister(testContext(t), w.repository(), 1); err != nil {
		t.Errorf("a runner that is gone where the former App sees: %v", err)
	}
}

// pass lets time go by on the fake clock of the bubble that a test runs in, for tokens
// to grow old: nobody waits.
func pass(length time.Duration) {
	time.Sleep(length)
}
