package github_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	lab "github-runner/lab/github"
)

// verbs are all that can be asked of a client.
var verbs = map[string]func(context.Context, *github.Client, runner.Scope) error{
	"list": func(ctx context.Context, c *github.Client, scope runner.Scope) error {
		_, err := c.Runners(ctx, scope, "")
		return err
	},
	"get": func(ctx context.Context, c *github.Client, scope runner.Scope) error {
		_, err := c.Runner(ctx, scope, 1)
		return err
	},
	"register": func(ctx context.Context, c *github.Client, scope runner.Scope) error {
		_, _, err := c.Register(ctx, scope, request("one"))
		return err
	},
	"delete": func(ctx context.Context, c *github.Client, scope runner.Scope) error {
		return c.Deregister(ctx, scope, 1)
	},
	"downloads": func(ctx context.Context, c *github.Client, scope runner.Scope) error {
		_, err := c.Application(ctx, scope, "x64")
		return err
	},
	"run-jobs": func(ctx context.Context, c *github.Client, scope runner.Scope) error {
		_, err := c.Job(ctx, scope, "acme/widgets", 1, "one")
		return err
	},
}

func TestErrorsOfEveryCall(t *testing.T) {
	for name, test := range map[string]struct {
		fault  lab.Fault
		want   error
		advice string
	}{
		"revoked token":  {lab.Fault{Kind: lab.FaultRevoked}, runner.ErrUnauthorized, "token"},
		"no permission":  {lab.Fault{Kind: lab.FaultStatus, Status: 403, Message: "Resource not accessible by personal access token"}, runner.ErrForbidden, "acme/widgets"},
		"moved":          {lab.Fault{Kind: lab.FaultStatus, Status: 301}, runner.ErrForbidden, "path"},
		"server error":   {lab.Fault{Kind: lab.FaultStatus, Status: 500}, runner.ErrUnreachable, ""},
		"away":           {lab.Fault{Kind: lab.FaultStatus, Status: 503}, runner.ErrUnreachable, ""},
		"bad gateway":    {lab.Fault{Kind: lab.FaultBody, Status: 502, Body: "<html>"}, runner.ErrUnreachable, ""},
		"not finished":   {lab.Fault{Kind: lab.FaultBody, Status: 202}, runner.ErrUnreachable, ""},
		"down":           {lab.Fault{Kind: lab.FaultDown}, runner.ErrUnreachable, ""},
		"lost":           {lab.Fault{Kind: lab.FaultLost}, runner.ErrUnreachable, ""},
		"slow":           {lab.Fault{Kind: lab.FaultDelay, Delay: time.Hour}, runner.ErrUnreachable, ""},
		"empty":          {lab.Fault{Kind: lab.FaultBody}, runner.ErrUnreachable, "github-url"},
		"empty object":   {lab.Fault{Kind: lab.FaultBody, Body: "{}"}, runner.ErrUnreachable, "github-url"},
		"null":           {lab.Fault{Kind: lab.FaultBody, Body: "null"}, runner.ErrUnreachable, "github-url"},
		"a page":         {lab.Fault{Kind: lab.FaultBody, Body: "<html>Sign in</html>"}, runner.ErrUnreachable, "github-url"},
		"cut off":        {lab.Fault{Kind: lab.FaultBody, Body: `{"total_count":1,"runners":[{"id":1,`}, runner.ErrUnreachable, "github-url"},
		"another type":   {lab.Fault{Kind: lab.FaultBody, Body: `{"total_count":"many","runners":"all","id":"x","jobs":1}`}, runner.ErrUnreachable, "github-url"},
		"an empty entry": {lab.Fault{Kind: lab.FaultBody, Body: `{"total_count":1,"runners":[null],"runner":null,"jobs":[null],"id":null}`}, runner.ErrUnreachable, "github-url"},
		"too long":       {lab.Fault{Kind: lab.FaultBody, Body: `{"x":"` + strings.Repeat("x", 9<<20) + `"}`}, runner.ErrUnreachable, ""},
	} {
		for verb, ask := range verbs {
			// A removal's answer has no body.
			if test.fault.Kind == lab.FaultBody && test.want == runner.ErrUnreachable && verb == "delete" && test.fault.Status == 0 {
				continue
			}
			t.Run(name+"/"+verb, func(t *testing.T) {
				ctx := testContext(t)
				w := newWorld(t, lab.Options{})
				client := w.client(func(o *github.Options) {
					if test.fault.Kind == lab.FaultDelay {
						o.Timeout = 50 * time.Millisecond
					}
				})
				fault := test.fault
				fault.On = verb
				if verb == "get" || verb == "delete" {
					if _, err := client.Runners(ctx, w.repository(), ""); err != nil {
						t.Fatal(err)
					}
				}
				w.fault(fault)
				err := ask(ctx, client, w.repository())
				if !errors.Is(err, test.want) {
					t.Fatalf("it gives %v, want %v", err, test.want)
				}
				if !strings.HasPrefix(err.Error(), "cannot ") {
					t.Errorf("the error does not say what can't be done: %v", err)
				}
				wantAdvice(t, err, test.advice)
				if test.advice == "" && adviceOf(err) != "" && name != "too long" {
					t.Errorf("advice %q for something that heals by itself", adviceOf(err))
				}
			})
		}
	}
}

func TestRegisterRefused(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{})
	client := w.client(nil)
	labels := make([]string, 101)
	for i := range labels {
		labels[i] = fmt.Sprint("l", i)
	}
	for name, asked := range map[string]runner.Request{
		"no labels":       {Name: "one"},
		"too many labels": {Name: "one", Labels: labels},
		"an empty label":  {Name: "one", Labels: []string{""}},
	} {
		_, _, err := client.Register(ctx, w.repository(), asked)
		if err == nil || errors.Is(err, runner.ErrUnreachable) || errors.Is(err, runner.ErrBusy) {
			t.Errorf("%s: %v", name, err)
		}
		wantAdvice(t, err, "labels")
	}
	w.fault(lab.Fault{Kind: lab.FaultStatus, Status: 404, On: "register"})
	_, _, err := client.Register(ctx, w.organization(), request("one"))
	wantAdvice(t, err, "path", "group")
}

func TestRateLimits(t *testing.T) {
	minute := time.Minute
	for name, test := range map[string]struct {
		fault lab.Fault
		wait  time.Duration
	}{
		"primary":                     {lab.Fault{Kind: lab.FaultPrimary, For: 20 * minute}, 20 * minute},
		"secondary":                   {lab.Fault{Kind: lab.FaultSecondary, RetryAfter: 120}, 2 * minute},
		"secondary without a time":    {lab.Fault{Kind: lab.FaultSecondary}, minute},
		"secondary as 429":            {lab.Fault{Kind: lab.FaultSecondary, Status: 429, RetryAfter: 30}, minute / 2},
		"secondary as a silent 429":   {lab.Fault{Kind: lab.FaultSecondary, Status: 429}, minute},
		"secondary without an end":    {lab.Fault{Kind: lab.FaultSecondary, RetryAfter: 50000}, 60 * minute},
		"a plain 429":                 {lab.Fault{Kind: lab.FaultStatus, Status: 429}, minute},
		"403 that only its text says": {lab.Fault{Kind: lab.FaultStatus, Status: 403, Message: "You have exceeded a secondary rate limit"}, minute},
	} {
		for verb, ask := range verbs {
			t.Run(name+"/"+verb, func(t *testing.T) {
				ctx := testContext(t)
				w := newWorld(t, lab.Options{})
				w.fault(test.fault)
				client := w.client(nil)
				begin := time.Now()
				for range 2 {
					err := ask(ctx, client, w.repository())
					var limit runner.RateLimited
					if !errors.As(err, &limit) {
						t.Fatalf("it gives %v, want RateLimited", err)
					}
					if wait := limit.Until.Sub(begin); wait < test.wait-5*time.Second || wait > test.wait+10*time.Second {
						t.Errorf("it is until in %s, want %s", wait, test.wait)
					}
					if errors.Is(err, runner.ErrForbidden) || errors.Is(err, runner.ErrUnauthorized) || adviceOf(err) != "" {
						t.Errorf("it looks like a matter of permissions: %v", err)
					}
				}
				if calls, _ := w.calls(); calls != 1 {
					t.Errorf("%d calls were made, want 1: the second is known to be refused", calls)
				}
			})
		}
	}
}

func TestUsedUpBudget(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{Limit: 2})
	client := w.client(nil)
	var err error
	for i := range 3 {
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		_, _, err = client.Register(ctx, w.repository(), request(fmt.Sprint("r", i)))
	}
	var limit runner.RateLimited
	if !errors.As(err, &limit) || time.Until(limit.Until) < 50*time.Minute {
		t.Errorf("the third call gives %v, want RateLimited for an hour", err)
	}
}

func TestCancelled(t *testing.T) {
	w := newWorld(t, lab.Options{})
	w.fault(lab.Fault{Kind: lab.FaultDelay, Delay: time.Hour})
	for verb, ask := range verbs {
		t.Run(verb, func(t *testing.T) {
			ctx, cancel := context.WithCancel(testContext(t))
			time.AfterFunc(20*time.Millisecond, cancel)
			if err := ask(ctx, w.client(nil), w.repository()); !errors.Is(err, context.Canceled) || errors.Is(err, runner.ErrUnreachable) {
				t.Errorf("it gives %v, want context.Canceled alone", err)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	server := httptest.NewServer(nil)
	scope := runner.Scope{API: server.URL, Path: "acme/widgets"}
	server.Close()
	client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
	if _, err := client.Runners(testContext(t), scope, ""); !errors.Is(err, runner.ErrUnreachable) {
		t.Errorf("it gives %v, want ErrUnreachable", err)
	}
}

func TestUnknownCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	defer server.Close()
	scope := runner.Scope{API: server.URL, Path: "acme/widgets"}
	_, err := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}}).Runners(testContext(t), scope, "")
	if !errors.Is(err, runner.ErrUnreachable) {
		t.Errorf("it gives %v, want ErrUnreachable", err)
	}
	wantAdvice(t, err, "github-url", "certificate")
}

func TestBadAddress(t *testing.T) {
	for _, api := range []string{"", "acme", "ftp://x", "https://", "https://user:pw@host", "http://a b/", "https://x:port"} {
		client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
		_, err := client.Runners(testContext(t), runner.Scope{API: api, Path: "acme"}, "")
		wantAdvice(t, err, "github-url")
	}
}

func TestNoToken(t *testing.T) {
	w := newWorld(t, lab.Options{})
	client := w.client(func(o *github.Options) { o.Credential = github.Credential{} })
	_, err := client.Runners(testContext(t), w.repository(), "")
	if !errors.Is(err, runner.ErrUnauthorized) {
		t.Errorf("it gives %v, want ErrUnauthorized", err)
	}
	wantAdvice(t, err, "token")
}

func TestHostilePathStaysInItsPlace(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.EscapedPath())
		_, _ = io.WriteString(w, `{"total_count":0,"runners":[]}`)
	}))
	defer server.Close()
	client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
	for path, want := range map[string]string{
		"a b?c":      "/orgs/a%20b%3Fc/actions/runners",
		"o/r#s":      "/repos/o/r%23s/actions/runners",
		"o/r/../../": "/repos/o/r%2F..%2F..%2F/actions/runners",
	} {
		asked = nil
		_, err := client.Runners(testContext(t), runner.Scope{API: server.URL, Path: path}, "")
		if err != nil || len(asked) != 1 || asked[0] != want {
			t.Errorf("path %q asks %q (%v), want %q", path, asked, err, want)
		}
	}
}

// Whatever a server or a proxy repeats, and at whatever level is logged, the
// token is nowhere.
func TestTokenIsNeverTold(t *testing.T) {
	var told bytes.Buffer
	log := logrus.New()
	log.SetOutput(&told)
	log.SetLevel(logrus.TraceLevel)
	cache := &memory{}
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(map[string]int{"GET": 401, "POST": 422, "DELETE": 500}[r.Method])
		fmt.Fprintf(w, `{"message":"you sent %s","errors":[{"message":"%s"}]}`, r.Header.Get("Authorization"), r.Header.Get("Authorization"))
	}))
	defer echo.Close()
	w := newWorld(t, lab.Options{})
	for _, scope := range []runner.Scope{{API: echo.URL, Path: "acme/widgets"}, w.repository(), {API: "http://127.0.0.1:1", Path: "acme"}} {
		client := w.client(func(o *github.Options) { o.Log, o.Cache = logrus.NewEntry(log), cache })
		for verb, ask := range verbs {
			err := ask(testContext(t), client, scope)
			fmt.Fprintf(&told, "%s: %v %+v %#v\n", verb, err, err, err)
		}
	}
	told.Write(cache.data)
	if strings.Contains(told.String(), token) || !strings.Contains(told.String(), "you sent Bearer [redacted]") {
		t.Errorf("the token was told, or nothing was:\n%s", told.String())
	}
}
