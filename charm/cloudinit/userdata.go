package cloudinit

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest user-data that every cloud takes: OpenStack's Nova takes
// 65,535 characters of Base64.
const MaxSize = 65535 / 4 * 3

//go:embed templates
var templateFiles embed.FS

// TooLargeError is the error of user-data that no cloud would take.
type TooLargeError struct {
	// Size is how many bytes it has.
	Size int
	// Largest names the input to shorten, which has LargestSize bytes.
	Largest     string
	LargestSize int
}

// Error says what is too large.
func (e TooLargeError) Error() string {
	return fmt.Sprintf("user-data of %d bytes is too large, at most %d fit: its largest part is %s with %d bytes", e.Size, MaxSize, e.Largest, e.LargestSize)
}

// UserData returns the "#cloud-config" document that makes a runner out of a
// fresh machine. Its error names the input that does not fit; it is a
// TooLargeError where all of them together do not.
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
		SSH:            machine.ssh(),
		InitModules:    machine.initModules(),
		ConfigModules:  []string{},
		FinalModules:   []string{},
		WriteFiles:     files,
		BootCommands:   machine.bootCommands(),
	})
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of %s: %w", machine.Name, err)
	}
	if result.Len() > MaxSize {
		name, size := machine.largestInput()
		tooLarge := TooLargeError{Size: result.Len(), Largest: name, LargestSize: size}
		return nil, fmt.Errorf("cannot render the user-data of %s: %w", machine.Name, tooLarge)
	}
	return result.Bytes(), nil
}

// document is the part of cloud-init's configuration that runners use. The
// lists of modules replace the image's own.
type document struct {
	ManageEtcHosts bool         `yaml:"manage_etc_hosts"`
	SSH            *sshDocument `yaml:",inline"`
	InitModules    []string     `yaml:"cloud_init_modules"`
	ConfigModules  []string     `yaml:"cloud_config_modules"`
	FinalModules   []string     `yaml:"cloud_final_modules"`
	WriteFiles     []File       `yaml:"write_files"`
	BootCommands   [][]string   `yaml:"bootcmd"`
}

// initModules are all that a runner needs of cloud-init. The start of the
// service comes last, so that files and user are there; it is a boot command
// because cloud-init's later stages would keep the runner waiting for seconds.
func (m Machine) initModules() []string {
	modules := []string{"growpart", "resizefs", "write_files", "set_hostname", "update_hostname", "update_etc_hosts", "users_groups"}
	if m.SSH != nil {
		modules = append(modules, "ssh")
	}
	return append(modules, "bootcmd")
}

// sshDocument is what cloud-init's modules users_groups and ssh are told.
type sshDocument struct {
	// DefaultUser is who gets the authorized keys; an image's own may be another.
	DefaultUser    map[string]string `yaml:"user"`
	DeleteKeys     bool              `yaml:"ssh_deletekeys"`
	HostKeys       map[string]string `yaml:"ssh_keys"`
	AuthorizedKeys []string          `yaml:"ssh_authorized_keys"`
}

func (m Machine) ssh() *sshDocument {
	if m.SSH == nil {
		return nil
	}
	return &sshDocument{
		DefaultUser:    map[string]string{"name": User},
		DeleteKeys:     true,
		HostKeys:       map[string]string{"ed25519_private": m.SSH.HostKey.Reveal(), "ed25519_public": m.SSH.HostPublicKey},
		AuthorizedKeys: []string{m.SSH.AuthorizedKey},
	}
}

// bootCommands start the service and call off cloud-init's later stages: they
// have nothing to do, and would cost a second of processor time per machine just
// when its runner wants to come online. What is before them takes effect in time
// for Docker, which starts after this stage of cloud-init; in an image where it
// did not wait, it is started anew.
func (m Machine) bootCommands() [][]string {
	var commands [][]string
	if m.DockerMirror != "" {
		commands = append(commands, []string{"sh", "-c", mergePath + " /etc/docker/daemon.json <" + dockerDaemonPath})
	}
	if !m.Proxy.IsZero() {
		commands = append(commands, []string{"systemctl", "daemon-reload"})
	}
	if len(commands) > 0 {
		commands = append(commands, []string{"systemctl", "try-restart", "--no-block", "docker.service"})
	}
	return append(commands,
		[]string{"systemctl", "start", "--no-block", serviceName},
		[]string{"systemctl", "stop", "--no-block", "cloud-config.service", "cloud-final.service"},
	)
}

// variable is one environment variable of the runner and its jobs.
type variable struct {
	Name  string
	Value string
}

// values are what the templates see.
type values struct {
	Machine
	Paths          paths
	Variables      []variable
	ProxyVariables []variable
	// Checks is set where a job must pass any.
	Checks          bool
	PolicyAddress   *netip.AddrPort
	OnlineSeconds   int
	PowerOffSeconds int
}

type paths struct {
	JIT, Started, Start, End, PreJobScript, Env     string
	Check, Checks, PolicyToken, Run                 string
	Aproxy, AproxyRules, Merge, DockerClient        string
	User, Home, Application, Exchange               string
	PreJob, PreJobDone, PostJob, RunCompleted, Diag string
}

func (m Machine) values() values {
	return values{
		Machine:         m,
		Variables:       m.variables(),
		ProxyVariables:  m.proxyVariables(),
		Checks:          m.checks() != Checks{},
		PolicyAddress:   m.policyAddress(),
		OnlineSeconds:   int(m.OnlineDeadline.Seconds()),
		PowerOffSeconds: int(m.PowerOffDelay.Seconds()),
		Paths: paths{
			JIT: JITPath, Started: StartedPath, Start: startPath, End: endPath, PreJobScript: preJobPath, Env: envPath,
			Check: checkPath, Checks: ChecksPath, PolicyToken: PolicyTokenPath, Run: runPath,
			Aproxy: aproxyPath, AproxyRules: aproxyRulesPath, Merge: mergePath, DockerClient: dockerClientPath,
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

// proxyVariables say what is reached through a proxy, and that the machine
// itself and the services of a Kubernetes cluster in it are not.
func (m Machine) proxyVariables() []variable {
	if m.Proxy.IsZero() {
		return nil
	}
	var variables []variable
	for _, v := range []variable{{"HTTP_PROXY", m.Proxy.HTTP.Reveal()}, {"HTTPS_PROXY", m.Proxy.HTTPS.Reveal()}} {
		if v.Value != "" {
			variables = append(variables, v)
		}
	}
	direct := m.Name + ",.svc"
	if m.Proxy.NoProxy != "" {
		direct = m.Proxy.NoProxy + "," + direct
	}
	return append(variables, variable{"NO_PROXY", direct})
}

// largestInput names what to shorten when the user-data is too large.
func (m Machine) largestInput() (name string, size int) {
	inputs := []variable{
		{"GitHub's JIT configuration", m.JIT.Reveal()},
		{"the runner application's URL", m.Application.URL},
		{"juju-http-proxy of the model", m.Proxy.HTTP.Reveal()},
		{"juju-https-proxy of the model", m.Proxy.HTTPS.Reveal()},
		{"juju-no-proxy of the model", m.Proxy.NoProxy},
		{"the option aproxy-exclude-addresses", fmt.Sprint(m.Aproxy.Exclude)},
		{"the option aproxy-redirect-ports", fmt.Sprint(m.Aproxy.Ports)},
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
