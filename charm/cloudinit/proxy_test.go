package cloudinit

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github-runner/charm/secret"
	"github-runner/lab/image"
	"github-runner/lab/skip"
)

const dropInPath = "/etc/systemd/system/docker.service.d/http-proxy.conf"

// proxyEnvironment is what every job of fullMachine must have.
func proxyEnvironment(machine Machine) map[string]string {
	direct := machine.Proxy.NoProxy + "," + machine.Name + ",.svc"
	return map[string]string{
		"HTTP_PROXY": hostileProxy, "http_proxy": hostileProxy,
		"HTTPS_PROXY": "http://proxy:3128", "https_proxy": "http://proxy:3128",
		"NO_PROXY": direct, "no_proxy": direct,
		"DOCKERHUB_MIRROR": machine.DockerMirror, "CONTAINER_REGISTRY_URL": machine.DockerMirror,
		"TMATE_SERVER_HOST": "fd00::1", "TMATE_SERVER_PORT": "10022",
	}
}

// readAsApplication reads an environment file as GitHub's application reads its
// .env: everything behind the first equals sign of a line is the value.
func readAsApplication(content string) map[string]string {
	variables := map[string]string{}
	for line := range strings.Lines(content) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok && name != "" {
			variables[name] = value
		}
	}
	return variables
}

func TestEnvironmentReachesTheJobs(t *testing.T) {
	machine := fullMachine()
	_, files := render(t, machine)
	for _, path := range []string{envPath, "/etc/environment"} {
		variables := readAsApplication(files[path].Content)
		for name, want := range proxyEnvironment(machine) {
			if got := variables[name]; got != want {
				t.Errorf("%s has %s=%s, want %s", path, name, got, want)
			}
		}
	}
	if want := `"HTTP_PROXY=http://u:p'\"$&` + "`%%@proxy:3128\""; !strings.Contains(files[dropInPath].Content, want) {
		t.Errorf("Docker's daemon is not told %s", want)
	}
}

func TestProxiesWithPasswordsAreForRootAlone(t *testing.T) {
	_, files := render(t, fullMachine())
	quoted, err := json.Marshal(hostileProxy)
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range files {
		holds := strings.Contains(f.Content, "http://u:p") || strings.Contains(f.Content, strings.Trim(string(quoted), `"`))
		// Every login reads /etc/environment, and every job has the same
		// variables.
		if holds && path != "/etc/environment" && f.Permissions != "0600" && f.Permissions != "0700" {
			t.Errorf("%s with a password has mode %s", path, f.Permissions)
		}
	}
}

func TestOneProxyIsEnough(t *testing.T) {
	machine := Machine{Name: "one", Proxy: Proxy{HTTPS: secret.New("http://proxy:3128")}}
	_, files := render(t, machine)
	variables := readAsApplication(files[envPath].Content)
	if variables["https_proxy"] != "http://proxy:3128" || variables["NO_PROXY"] != "one,.svc" {
		t.Errorf("variables %v", variables)
	}
	if value, ok := variables["HTTP_PROXY"]; ok {
		t.Errorf("HTTP_PROXY is set to %q: programs would take that for a proxy", value)
	}
}

func TestMachineWithoutProxyHasNone(t *testing.T) {
	parsed, files := render(t, Machine{Name: "plain", JIT: secret.New(jit)})
	for path, f := range files {
		if strings.Contains(strings.ToLower(f.Content), "proxy") {
			t.Errorf("%s speaks of proxies", path)
		}
	}
	if len(parsed.BootCommands) != 2 {
		t.Errorf("boot commands %v", parsed.BootCommands)
	}
}

func TestAproxyTakesThePlaceOfVariables(t *testing.T) {
	_, files := render(t, aproxyMachine())
	for _, path := range []string{envPath, "/etc/environment", startPath} {
		if strings.Contains(strings.ToLower(files[path].Content), "http_proxy") {
			t.Errorf("%s sets proxy variables, which bypass aproxy", path)
		}
	}
	for _, path := range []string{dropInPath, dockerClientPath} {
		if _, ok := files[path]; ok {
			t.Errorf("Docker is told of the proxy in %s", path)
		}
	}
}

// nft returns what the program that loads the rules says of them. It runs in a
// network namespace of its own.
func nft(t *testing.T, arguments, rules string) string {
	t.Helper()
	skip.Without(t, "nft")
	if err := exec.Command("unshare", "--user", "--map-root-user", "--net", "true").Run(); err != nil {
		skip.Because(t, "no network namespace can be made here: %v", err)
	}
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "sh", "-c", "nft "+arguments)
	cmd.Stdin = strings.NewReader(rules)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("nft %s: %v: %s\n%s", arguments, err, out, rules)
	}
	return string(out)
}

func TestNftTakesTheRules(t *testing.T) {
	machine := aproxyMachine()
	_, files := render(t, machine)
	rules := files[aproxyRulesPath].Content + "add element ip aproxy proxy { 192.0.2.1 . 3128,192.0.2.2 . 3128 }\n"
	nft(t, "-c -f -", rules)
	listed := nft(t, "-f - && nft list ruleset", rules+rules)
	for _, want := range []string{
		"10.0.0.0/8, 192.0.2.7", "240.0.0.0/4", "80, 443", "8000-65535",
		"192.0.2.1 . 3128", "redirect to :54969", "hook prerouting", "hook output",
	} {
		if !strings.Contains(listed, want) {
			t.Errorf("the rules in force lack %s:\n%s", want, listed)
		}
	}
	if strings.Count(listed, "table ") != 1 {
		t.Errorf("loaded twice, the rules are there twice:\n%s", listed)
	}
}

// merged runs merge-json on a file with the given content; "": there is none.
func merged(t *testing.T, existing, part string) map[string]any {
	t.Helper()
	_, files := render(t, fullMachine())
	dir := t.TempDir()
	script, target := filepath.Join(dir, "merge-json"), filepath.Join(dir, "new", "file.json")
	if err := os.WriteFile(script, []byte(files[mergePath].Content), 0o700); err != nil {
		t.Fatal(err)
	}
	if existing != "" {
		target = filepath.Join(dir, "file.json")
		if err := os.WriteFile(target, []byte(existing), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("python3", script, target)
	cmd.Stdin = strings.NewReader(part)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("merge-json: %v: %s", err, out)
	}
	content, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	var result map[string]any
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&result); err != nil {
		t.Fatalf("%v in %s", err, content)
	}
	return result
}

func TestDockerConfigurationIsMergedIntoTheImages(t *testing.T) {
	skip.Without(t, "python3")
	machine := fullMachine()
	_, files := render(t, machine)
	daemon, client := files[dockerDaemonPath].Content, files[dockerClientPath].Content
	mirrors := map[string]any{"registry-mirrors": []any{machine.DockerMirror}}
	for name, test := range map[string]struct {
		existing, part string
		want           map[string]any
	}{
		"no file":    {"", daemon, mirrors},
		"no JSON":    {"{", daemon, mirrors},
		"empty file": {" ", daemon, mirrors},
		"a list":     {"[1]", daemon, mirrors},
		"other settings": {`{"data-root": "/srv", "registry-mirrors": ["https://old"]}`, daemon,
			map[string]any{"data-root": "/srv", "registry-mirrors": []any{machine.DockerMirror, "https://old"}}},
		"the same already": {daemon, daemon, mirrors},
		"logins and proxies": {`{"auths": {"r": {}}, "proxies": {"default": {"ftpProxy": "f", "httpProxy": "old"}}}`, client,
			map[string]any{"auths": map[string]any{"r": map[string]any{}}, "proxies": map[string]any{"default": map[string]any{
				"ftpProxy": "f", "httpProxy": hostileProxy, "httpsProxy": "http://proxy:3128", "noProxy": machine.Proxy.NoProxy + "," + machine.Name + ",.svc",
			}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, merged(t, test.existing, test.part)); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
		})
	}
}

// dockerClient returns Docker's client: the machine's, or where all must be tested
// Debian's, which needs not be installed to read its configuration.
func dockerClient(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("docker")
	if err == nil {
		return path
	}
	if !skip.Required() {
		skip.Because(t, "docker is not on this machine")
	}
	builder := image.Builder{Cache: image.DefaultCache, Mirror: image.DefaultMirror}
	// With what charm/lxd installs in a container, so that both are downloaded once.
	packages, err := builder.Packages(t.Context(), "docker.io", "busybox-static")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, file := range packages {
		if !strings.HasPrefix(filepath.Base(file), "docker.io_") {
			continue
		}
		if out, err := exec.Command("dpkg-deb", "--extract", file, dir).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v: %s", err, out)
		}
	}
	return filepath.Join(dir, "usr", "bin", "docker")
}

// Docker's client warns of a file that it can't use.
func TestDockerReadsItsClientsConfiguration(t *testing.T) {
	docker := dockerClient(t)
	_, files := render(t, fullMachine())
	dir := t.TempDir()
	complaints := func(content string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(docker, "--config", dir, "context", "ls", "--quiet").CombinedOutput()
		if err != nil {
			t.Fatalf("docker: %v: %s", err, out)
		}
		return strings.TrimSpace(strings.TrimPrefix(string(out), "default"))
	}
	if said := complaints(`{"proxies": {"default": {"httpProxy": 1}}}`); !strings.Contains(said, "httpProxy") {
		skip.Because(t, "this docker says nothing of a bad file: %q", said)
	}
	if said := complaints(files[dockerClientPath].Content); said != "" {
		t.Errorf("docker says of its configuration: %s", said)
	}
}

// A job reads in its log that Docker Hub's images come from elsewhere.
func TestPreJobScriptTellsOfTheMirror(t *testing.T) {
	machine := fullMachine()
	// What the jobs must pass is another test's.
	machine.Policy, machine.MembersOnly = nil, false
	machine.DockerMirror = "https://mirror.example.com/" + strings.ReplaceAll(hostile, "\n", "")
	machine.DockerMirror = strings.NewReplacer("#", "", `\`, "").Replace(machine.DockerMirror)
	for mirror, want := range map[string]bool{machine.DockerMirror: true, "": false} {
		machine.DockerMirror = mirror
		_, files := render(t, machine)
		// The folder of the metrics is not there.
		out, err := exec.Command("bash", "-c", files[preJobPath].Content).Output()
		if err != nil {
			t.Errorf("the pre-job script: %v", err)
		}
		if told := strings.Contains(string(out), "mirror of Docker Hub: "+mirror+"\n"); told != want || (mirror == "" && len(out) > 0) {
			t.Errorf("with mirror %q the pre-job script says %q", mirror, out)
		}
	}
}

func TestEnvironmentLineRefusesWhatPAMWouldChange(t *testing.T) {
	for _, value := range []string{"http://a/#secret", `a\secret`, `"secret"`, "'secret'", "a\nsecret", "secret\x00"} {
		if line, err := environmentLine("A", value); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("environmentLine(%q) = %q, %v", value, line, err)
		}
	}
	if line, err := environmentLine("A", hostileProxy); err != nil || line != "A="+hostileProxy {
		t.Errorf("environmentLine(%q) = %q, %v", hostileProxy, line, err)
	}
}
