package cloudinit

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest user-data that every cloud takes.
const MaxSize = 48 << 10

//go:embed templates
var templateFiles embed.FS

// UserData returns the "#cloud-config" document that makes a runner out of a
// fresh machine. Its error names the input that does not fit.
func UserData(machine Machine) ([]byte, error) {
	files, err := machine.files()
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of %s: %w", machine.Name, err)
	}
	result := bytes.NewBufferString("#cloud-config\n")
	encoder := yaml.NewEncoder(result)
	encoder.SetIndent(2)
	err = encoder.Encode(document{
		ManageEtcHosts: true,
		InitModules:    initModules,
		ConfigModules:  []string{},
		FinalModules:   []string{},
		WriteFiles:     files,
		BootCommands:   bootCommands,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of %s: %w", machine.Name, err)
	}
	if result.Len() > MaxSize {
		name, size := machine.largestInput()
		return nil, fmt.Errorf("cannot render the user-data of %s: it has %d bytes and at most %d fit; the largest part is %s with %d bytes", machine.Name, result.Len(), MaxSize, name, size)
	}
	return result.Bytes(), nil
}

// document is the part of cloud-init's configuration that runners use. The
// lists of modules replace the image's own.
type document struct {
	ManageEtcHosts bool       `yaml:"manage_etc_hosts"`
	InitModules    []string   `yaml:"cloud_init_modules"`
	ConfigModules  []string   `yaml:"cloud_config_modules"`
	FinalModules   []string   `yaml:"cloud_final_modules"`
	WriteFiles     []file     `yaml:"write_files"`
	BootCommands   [][]string `yaml:"bootcmd"`
}

// initModules are all that a runner needs of cloud-init. The start of the
// service comes last, so that files and user are there; it is a boot command
// because cloud-init's later stages would keep the runner waiting for seconds.
var initModules = []string{
	"growpart", "resizefs", "write_files", "set_hostname", "update_hostname", "update_etc_hosts", "users_groups", "bootcmd",
}

// bootCommands start the service and call off cloud-init's later stages: they
// have nothing to do, and would cost a second of processor time per machine just
// when its runner wants to come online.
var bootCommands = [][]string{
	{"systemctl", "start", "--no-block", serviceName},
	{"systemctl", "stop", "--no-block", "cloud-config.service", "cloud-final.service"},
}

type file struct {
	Path        string `yaml:"path"`
	Permissions string `yaml:"permissions"`
	Append      bool   `yaml:"append,omitempty"`
	Content     string `yaml:"content"`
}

// variable is one environment variable of the runner and its jobs.
type variable struct {
	Name  string
	Value string
}

// files are all files that the machine starts with.
func (m Machine) files() ([]file, error) {
	values := m.values()
	templates := template.New("").Funcs(template.FuncMap{"shell": shell, "systemd": systemd, "envLine": envLine, "lower": strings.ToLower})
	templates, err := templates.ParseFS(templateFiles, "templates/*.tmpl")
	if err != nil {
		return nil, err
	}
	files := []file{{Path: JITPath, Permissions: "0600", Content: m.JIT.Reveal()}}
	for _, f := range m.rendered() {
		var content bytes.Buffer
		if err := templates.ExecuteTemplate(&content, f.Content, values); err != nil {
			return nil, err
		}
		f.Content = content.String()
		files = append(files, f)
	}
	docker, err := m.dockerFiles()
	return append(files, docker...), err
}

// rendered are the files that come from templates; Content is the template's
// name.
func (m Machine) rendered() []file {
	files := []file{
		{Path: startPath, Permissions: "0700", Content: "start.sh.tmpl"},
		{Path: endPath, Permissions: "0700", Content: "end.sh.tmpl"},
		{Path: preJobPath, Permissions: "0755", Content: "pre-job.sh.tmpl"},
		{Path: envPath, Permissions: "0600", Content: "env.tmpl"},
		{Path: "/etc/systemd/system/" + serviceName, Permissions: "0644", Content: "service.tmpl"},
	}
	if len(m.variables()) > 0 {
		files = append(files, file{Path: "/etc/environment", Permissions: "0644", Append: true, Content: "environment.tmpl"})
	}
	if len(m.proxyVariables()) > 0 {
		files = append(files, file{Path: "/etc/systemd/system/docker.service.d/http-proxy.conf", Permissions: "0644", Content: "docker.tmpl"})
	}
	return files
}

// dockerFiles tell Docker's daemon and client of mirror and proxy.
func (m Machine) dockerFiles() ([]file, error) {
	var files []file
	add := func(path string, value any) error {
		content, err := json.Marshal(value)
		files = append(files, file{Path: path, Permissions: "0644", Content: string(content)})
		return err
	}
	if m.DockerMirror != "" {
		if err := add("/etc/docker/daemon.json", map[string][]string{"registry-mirrors": {m.DockerMirror}}); err != nil {
			return nil, err
		}
	}
	if m.Proxy == (Proxy{}) {
		return files, nil
	}
	proxy := map[string]string{}
	for name, value := range map[string]string{"httpProxy": m.Proxy.HTTP, "httpsProxy": m.Proxy.HTTPS, "noProxy": m.Proxy.NoProxy} {
		if value != "" {
			proxy[name] = value
		}
	}
	return files, add("/root/.docker/config.json", map[string]any{"proxies": map[string]any{"default": proxy}})
}

// values are what the templates see.
type values struct {
	Machine
	Paths           paths
	Variables       []variable
	ProxyVariables  []variable
	OnlineSeconds   int
	PowerOffSeconds int
}

type paths struct {
	JIT, Started, Start, End, PreJobScript, Env     string
	User, Home, Application, Exchange               string
	PreJob, PreJobDone, PostJob, RunCompleted, Diag string
}

func (m Machine) values() values {
	return values{
		Machine:         m,
		Variables:       m.variables(),
		ProxyVariables:  m.proxyVariables(),
		OnlineSeconds:   int(m.OnlineDeadline.Seconds()),
		PowerOffSeconds: int(m.PowerOffDelay.Seconds()),
		Paths: paths{
			JIT: JITPath, Started: StartedPath, Start: startPath, End: endPath, PreJobScript: preJobPath, Env: envPath,
			User: User, Home: Home, Application: ApplicationDir, Exchange: ExchangeDir,
			PreJob: PreJobMetricsFile, PreJobDone: PreJobDoneFile, PostJob: PostJobMetricsFile, RunCompleted: RunCompletedFile, Diag: DiagFile,
		},
	}
}

// variables is the environment of the application, its jobs and every login.
func (m Machine) variables() []variable {
	variables := m.proxyVariables()
	add := func(name, value string) {
		if value != "" {
			variables = append(variables, variable{name, value})
		}
	}
	for _, v := range m.proxyVariables() {
		// Programs disagree on which spelling they read.
		add(strings.ToLower(v.Name), v.Value)
	}
	add("DOCKERHUB_MIRROR", m.DockerMirror)
	add("CONTAINER_REGISTRY_URL", m.DockerMirror)
	if m.DebugHost != nil {
		add("TMATE_SERVER_HOST", m.DebugHost.Host)
		add("TMATE_SERVER_PORT", strconv.Itoa(m.DebugHost.Port))
		add("TMATE_SERVER_RSA_FINGERPRINT", m.DebugHost.RSAFingerprint)
		add("TMATE_SERVER_ED25519_FINGERPRINT", m.DebugHost.ED25519Fingerprint)
	}
	return variables
}

func (m Machine) proxyVariables() []variable {
	var variables []variable
	for _, v := range []variable{{"HTTP_PROXY", m.Proxy.HTTP}, {"HTTPS_PROXY", m.Proxy.HTTPS}, {"NO_PROXY", m.Proxy.NoProxy}} {
		if v.Value != "" {
			variables = append(variables, v)
		}
	}
	return variables
}

// largestInput names what to shorten when the user-data is too large.
func (m Machine) largestInput() (name string, size int) {
	inputs := []variable{
		{"GitHub's JIT configuration", m.JIT.Reveal()},
		{"the runner application's URL", m.Application.URL},
		{"the model's http-proxy", m.Proxy.HTTP},
		{"the model's https-proxy", m.Proxy.HTTPS},
		{"the model's no-proxy", m.Proxy.NoProxy},
		{"the option dockerhub-mirror", m.DockerMirror},
	}
	if m.DebugHost != nil {
		inputs = append(inputs, variable{"the data of the relation debug-ssh", m.DebugHost.Host + m.DebugHost.RSAFingerprint + m.DebugHost.ED25519Fingerprint})
	}
	for _, input := range inputs {
		if len(input.Value) > size {
			name, size = input.Name, len(input.Value)
		}
	}
	return name, size
}
