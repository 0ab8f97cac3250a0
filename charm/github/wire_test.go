package github_test

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github-runner/charm/github"
	"github-runner/charm/runner"
	"github-runner/charm/secret"
	lab "github-runner/lab/github"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func TestRedirects(t *testing.T) {
	var stolen []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = append(stolen, r.Header.Get("Authorization"))
	}))
	defer other.Close()
	var methods []string
	target := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods = append(methods, r.Method)
		switch {
		case strings.HasPrefix(r.URL.Path, "/repositories/1/"):
			_, _ = io.WriteString(w, `{"total_count":0,"runners":[]}`)
		case r.Method == http.MethodGet && target == "":
			http.Redirect(w, r, "/repositories/1/actions/runners", http.StatusMovedPermanently)
		default:
			http.Redirect(w, r, target+r.URL.Path, http.StatusMovedPermanently)
		}
	}))
	defer server.Close()
	scope := runner.Scope{API: server.URL, Path: "acme/renamed"}
	client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
	ctx := testContext(t)

	if _, err := client.Runners(ctx, scope, ""); err != nil {
		t.Errorf("a renamed repository of the same server: %v", err)
	}
	methods, target = nil, "/repositories/1"
	if err := client.Deregister(ctx, scope, 1); err == nil || len(methods) != 1 {
		t.Errorf("a redirected removal gives %v and makes calls %v, want an error after one DELETE", err, methods)
	}
	target = other.URL
	_, err := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}}).Runners(ctx, scope, "")
	wantAdvice(t, err, "path")
	if len(stolen) > 0 {
		t.Errorf("another server was asked, with %q", stolen)
	}
}

func TestProxy(t *testing.T) {
	w := newWorld(t, lab.Options{})
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		r.URL.Path = "/api/v3" + r.URL.Path
		w.ServeHTTP(out, r)
	}))
	defer proxy.Close()
	scope := runner.Scope{API: "http://github.invalid", Path: "acme/widgets"}
	client := w.client(func(o *github.Options) { o.Proxy = github.Proxy{HTTP: proxy.URL} })
	if _, err := client.Runners(testContext(t), scope, ""); err != nil || len(asked) != 1 {
		t.Errorf("the proxy was asked %v: %v", asked, err)
	}
	asked = nil
	client = w.client(func(o *github.Options) { o.Proxy = github.Proxy{HTTP: proxy.URL, NoProxy: "github.invalid"} })
	if _, err := client.Runners(testContext(t), scope, ""); !errors.Is(err, runner.ErrUnreachable) || len(asked) != 0 {
		t.Errorf("in spite of no-proxy the proxy was asked %v: %v", asked, err)
	}
	t.Setenv("HTTP_PROXY", proxy.URL)
	if _, err := w.client(nil).Runners(testContext(t), scope, ""); err == nil || len(asked) != 0 {
		t.Errorf("the environment's proxy was asked %v: %v", asked, err)
	}
}

func TestUnreachableProxyKeepsItsPassword(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		http.Error(out, "who are you", http.StatusProxyAuthRequired)
	}))
	defer refusing.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	w := newWorld(t, lab.Options{})
	for name, proxy := range map[string]string{"refusing": refusing.URL, "gone": gone.URL} {
		for _, api := range []string{"http://github.invalid", "https://github.invalid"} {
			secretive := strings.Replace(proxy, "://", "://user:hunter2@", 1)
			client := w.client(func(o *github.Options) { o.Proxy = github.Proxy{HTTP: secretive, HTTPS: secretive} })
			_, err := client.Runners(testContext(t), runner.Scope{API: api, Path: "acme/widgets"}, "")
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s by way of a proxy that is %s: %v", api, name, err)
			}
			t.Log(err)
		}
	}
}

func TestCacheTrouble(t *testing.T) {
	for name, data := range map[string]string{
		"not JSON":       "\x00\x01",
		"another's":      `{"format":"x/1"}`,
		"a list":         `[]`,
		"null":           `null`,
		"no ETag":        `{"format":"github-runner/answers/1","answers":{"k":{"body":""}}}`,
		"a header break": `{"format":"github-runner/answers/1","answers":{"k":{"etag":"a\r\nX: y","body":""}}}`,
		"cut off":        `{"format":"github-runner/answers/1","answers":{"k":{"et`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lab.Options{})
			cache := &memory{data: []byte(data)}
			client := w.client(func(o *github.Options) { o.Cache = cache })
			if _, err := client.Runners(testContext(t), w.repository(), ""); err != nil {
				t.Error(err)
			}
			if string(cache.aside) != data || !json.Valid(cache.data) {
				t.Errorf("set aside %q, then saved %q", cache.aside, cache.data)
			}
		})
	}
	t.Run("no file", func(t *testing.T) {
		w := newWorld(t, lab.Options{})
		client := w.client(func(o *github.Options) { o.Cache = &memory{fail: errors.New("disk full")} })
		if _, err := client.Runners(testContext(t), w.repository(), ""); err != nil {
			t.Errorf("a cache that fails is no reason to fail: %v", err)
		}
	})
}

func TestBadAnswerIsNotKept(t *testing.T) {
	bad := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"same"`)
		switch {
		case bad:
			_, _ = io.WriteString(w, `{}`)
		case r.Header.Get("If-None-Match") != "":
			w.WriteHeader(http.StatusNotModified)
		default:
			_, _ = io.WriteString(w, `{"total_count":0,"runners":[]}`)
		}
	}))
	defer server.Close()
	scope := runner.Scope{API: server.URL, Path: "acme"}
	client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
	if _, err := client.Runners(testContext(t), scope, ""); err == nil {
		t.Fatal("an empty object passes for a list")
	}
	bad = false
	for range 2 {
		if _, err := client.Runners(testContext(t), scope, ""); err != nil {
			t.Errorf("it does not heal: %v", err)
		}
	}
}

func TestEndlessList(t *testing.T) {
	for name, link := range map[string]string{
		"in a circle": `</orgs/acme/actions/runners?page=1>; rel="next"`,
		"for ever":    "next",
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls++
				next := link
				if link == "next" {
					next = `<` + r.URL.Path + `?page=` + r.URL.Query().Get("page") + `0>; rel="next"`
				}
				w.Header().Set("Link", next)
				_, _ = io.WriteString(w, `{"total_count":0,"runners":[]}`)
			}))
			defer server.Close()
			client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
			if _, err := client.Runners(testContext(t), runner.Scope{API: server.URL, Path: "acme"}, ""); err == nil || calls > 100 {
				t.Errorf("after %d calls: %v", calls, err)
			}
		})
	}
}

func TestApplication(t *testing.T) {
	ctx := testContext(t)
	w := newWorld(t, lab.Options{Applications: []string{application(t)}})
	cache := &memory{}
	withCache := func(o *github.Options) { o.Cache = cache }
	for range 3 {
		got, err := w.client(withCache).Application(ctx, w.organization(), "x64")
		if err != nil || got.Version != "2.330.0" || len(got.SHA256) != 64 || !strings.HasPrefix(got.URL, w.url) {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	if calls, _ := w.calls(); calls != 1 {
		t.Errorf("GitHub was asked %d times in an hour, want 1", calls)
	}
	cache.data = []byte(strings.ReplaceAll(string(cache.data), `"fresh":"`+time.Now().Format("2006"), `"fresh":"2001`))
	if _, err := w.client(withCache).Application(ctx, w.organization(), "x64"); err != nil {
		t.Fatal(err)
	}
	if calls, free := w.calls(); calls != 2 || free != 1 {
		t.Errorf("after an hour there were %d calls, %d of them free; want 2, 1", calls, free)
	}
	if _, err := w.client(nil).Application(ctx, w.repository(), "riscv64"); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("another architecture gives %v", err)
	}
}

func TestApplicationThatIsNotToBeTrusted(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for name, entry := range map[string]string{
		"no checksum":      `"filename":"actions-runner-linux-x64-2.330.0.tar.gz","download_url":"https://x/y"`,
		"a short checksum": `"filename":"actions-runner-linux-x64-2.330.0.tar.gz","download_url":"https://x/y","sha256_checksum":"abcd"`,
		"no hex":           `"filename":"actions-runner-linux-x64-2.330.0.tar.gz","download_url":"https://x/y","sha256_checksum":"` + strings.Repeat("zz", 32) + `"`,
		"no address":       `"filename":"actions-runner-linux-x64-2.330.0.tar.gz","sha256_checksum":"` + sum + `"`,
		"a file":           `"filename":"actions-runner-linux-x64-2.330.0.tar.gz","download_url":"file:///etc/passwd","sha256_checksum":"` + sum + `"`,
		"no version":       `"filename":"actions-runner.tar.gz","download_url":"https://x/y","sha256_checksum":"` + sum + `"`,
		"a script":         `"filename":"actions-runner-linux-x64-$(id).tar.gz","download_url":"https://x/y","sha256_checksum":"` + sum + `"`,
	} {
		scope := answering(t, 200, `[{"os":"linux","architecture":"x64",`+entry+`}]`)
		client := github.New(github.Options{Credential: github.Credential{Token: secret.New(token)}})
		if got, err := client.Application(testContext(t), scope, "x64"); err == nil || got != (runner.Application{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
