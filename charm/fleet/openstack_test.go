package fleet

import (
	"net/http"
	"testing"

	"github-runner/charm/secret"
	"github-runner/charm/state"
	"github-runner/charm/unit"
	"github-runner/charm/unitdir"
)

// OpenStack is reached by the model's proxies, but for what they are not for.
func TestOpenStackIsReachedByTheModelsProxies(t *testing.T) {
	dir, err := unitdir.Open(t.TempDir(), "app-0")
	if err != nil {
		t.Fatal(err)
	}
	config, err := Assembler{}.openStackConfig(state.CharmState{Proxies: state.Proxies{
		HTTP: secret.New("http://plain.example:3128"), HTTPS: secret.New("http://tls.example:3128"), NoProxy: "near.example,192.0.2.0/24",
	}}, unit.Materials{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"https://cloud.example:5000/v3":   "http://tls.example:3128",
		"http://cloud.example:9696/v2.0/": "http://plain.example:3128",
		"https://nova.near.example/v2.1/": "",
		"https://192.0.2.7:5000/v3":       "",
	} {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := config.Route(request)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if proxy != nil {
			got = proxy.String()
		}
		if got != want {
			t.Errorf("%s is reached by %q, want %q", address, got, want)
		}
	}
}
