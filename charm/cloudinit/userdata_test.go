package cloudinit

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github-runner/charm/secret"
)

const jit = "and0LWJsb2I="

// hostileProxy has what means something to shells, systemd and JSON.
const hostileProxy = `http://u:p'"$&` + "`%@proxy:3128"

func fullMachine() Machine {
	return Machine{
		Name:            "github-runner-0-0123456789ab",
		JIT:             secret.New(jit),
		Application:     Application{URL: "https://example.com/runner.tar.gz?a='b'&c=$(d)", SHA256: strings.Repeat("ab", 32)},
		ExchangeMounted: true,
		OnlineDeadline:  8 * time.Minute,
		Proxy:           Proxy{HTTP: secret.New(hostileProxy), HTTPS: secret.New("http://proxy:3128"), NoProxy: "localhost,10.0.0.0/8"},
		DockerMirror:    "https://mirror.example.com/?a=\"b\"",
		DebugHost:       &DebugHost{Host: "fd00::1", Port: 10022, RSAFingerprint: "SHA256:a", ED25519Fingerprint: "SHA256:b"},
		Policy:          &Policy{URL: "http://10.1.2.1:8080/'\"$&`%", Token: secret.New(policyToken)},
		MembersOnly:     true,
	}
}

func aproxyMachine() Machine {
	machine := fullMachine()
	machine.Proxy = Proxy{}
	machine.Aproxy = Aproxy{
		Proxy: "proxy.example.com:3128",
		Exclude: []AddrRange{
			{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("10.255.255.255")},
			{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.7")},
			{netip.MustParseAddr("240.0.0.0"), netip.MustParseAddr("255.255.255.255")},
		},
		Ports: []PortRange{{80, 80}, {443, 443}, {8000, 65535}},
	}
	return machine
}

// render returns the files of a machine's user-data by path.
func render(t *testing.T, machine Machine) (document, map[string]File) {
	t.Helper()
	data, err := UserData(machine)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(data), "#cloud-config\n") {
		t.Errorf("user-data starts with %.20q", data)
	}
	var parsed document
	if err := yaml.Unmarshal(data, &parsed); err != nil {
		t.Fatal(err)
	}
	files := map[string]File{}
	for _, f := range parsed.WriteFiles {
		if f.Encoding == compressed {
			reader, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(f.Content)))
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			f.Content = string(content)
		}
		files[f.Path] = f
	}
	return parsed, files
}

func TestUserDataIsSmall(t *testing.T) {
	usual := Machine{Name: "usual", JIT: secret.New(jit), Policy: fullMachine().Policy, MembersOnly: true}
	for name, test := range map[string]struct {
		machine Machine
		most    int
	}{
		"usual":  {usual, 8 << 10},
		"full":   {fullMachine(), 12 << 10},
		"aproxy": {aproxyMachine(), 12 << 10},
	} {
		data, err := UserData(test.machine)
		if err != nil {
			t.Fatal(err)
		}
		if len(data)-len(jit) > test.most {
			t.Errorf("user-data of a %s machine has %d bytes, more than %d", name, len(data), test.most)
		}
		t.Logf("%s: %d bytes", name, len(data))
	}
}

func TestUserDataKeepsTheSecretToRoot(t *testing.T) {
	_, files := render(t, fullMachine())
	if f := files[JITPath]; f.Content != jit || f.Permissions != "0600" {
		t.Errorf("the JIT configuration's file is %+v", f)
	}
	for path, f := range files {
		if path != JITPath && strings.Contains(f.Content, jit) {
			t.Errorf("%s holds the JIT configuration", path)
		}
	}
}

func TestUserDataStartsTheServiceLast(t *testing.T) {
	parsed, _ := render(t, fullMachine())
	if last := parsed.InitModules[len(parsed.InitModules)-1]; last != "bootcmd" {
		t.Errorf("cloud-init's last module is %s: files or user may be missing when the service starts", last)
	}
	if !parsed.ManageEtcHosts {
		t.Error("sudo would wait for 20 s without manage_etc_hosts")
	}
}

func TestScriptsAreScripts(t *testing.T) {
	for name, machine := range map[string]Machine{
		"plain":  {Name: "plain"},
		"full":   fullMachine(),
		"aproxy": aproxyMachine(),
		"slow":   {Name: "slow", PowerOffDelay: 10 * time.Minute},
	} {
		_, files := render(t, machine)
		for _, path := range []string{startPath, endPath, preJobPath, aproxyPath} {
			check := exec.Command("bash", "-n")
			check.Stdin = strings.NewReader(files[path].Content)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s of a %s machine: %v: %s", path, name, err, out)
			}
		}
	}
}

func TestPowerOff(t *testing.T) {
	_, now := render(t, Machine{Name: "now"})
	if unit := now["/etc/systemd/system/"+serviceName].Content; !strings.Contains(unit, "FailureAction=poweroff-force") || !strings.Contains(unit, "SuccessAction=poweroff-force") {
		t.Error("a machine stays up after its runner's end")
	}
	_, later := render(t, Machine{Name: "later", PowerOffDelay: 10 * time.Minute})
	if unit := later["/etc/systemd/system/"+serviceName].Content; strings.Contains(unit, "poweroff") {
		t.Error("a machine powers off before somebody could fetch what it left")
	}
	if !strings.Contains(later[endPath].Content, "--on-active=600 ") {
		t.Error("a machine never powers off")
	}
}

func TestSSHServerGetsItsKeys(t *testing.T) {
	machine := fullMachine()
	plain, files := render(t, machine)
	machine.SSH = &SSH{AuthorizedKey: "ssh-ed25519 unit", HostKey: secret.New("-----BEGIN\nhost\n-----END\n"), HostPublicKey: "ssh-ed25519 host"}
	parsed, more := render(t, machine)
	want := &sshDocument{
		DefaultUser: map[string]string{"name": "ubuntu"}, DeleteKeys: true,
		HostKeys:       map[string]string{"ed25519_private": machine.SSH.HostKey.Reveal(), "ed25519_public": "ssh-ed25519 host"},
		AuthorizedKeys: []string{"ssh-ed25519 unit"},
	}
	if diff := cmp.Diff(want, parsed.SSH); diff != "" {
		t.Errorf("cloud-init is told (-want +got):\n%s", diff)
	}
	// The server's keys and the user are there before the runner may come to its end.
	if got := strings.Join(parsed.InitModules, " "); !strings.HasSuffix(got, " users_groups ssh bootcmd") {
		t.Errorf("cloud-init's modules are %s", got)
	}
	if diff := cmp.Diff(files, more); diff != "" {
		t.Errorf("the files are others (-without +with):\n%s", diff)
	}
	if plain.SSH != nil && !cmp.Equal(*plain.SSH, sshDocument{}) || slices.Contains(plain.InitModules, "ssh") {
		t.Errorf("a machine without SSH is told %+v and %v", plain.SSH, plain.InitModules)
	}
}

// A machine without SSH gets what it got before there was any.
func TestUserDataWithoutSSHIsUnchanged(t *testing.T) {
	data, err := UserData(Machine{Name: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	head := `#cloud-config
manage_etc_hosts: true
cloud_init_modules:
  - growpart
  - resizefs
  - write_files
  - set_hostname
  - update_hostname
  - update_etc_hosts
  - users_groups
  - bootcmd
cloud_config_modules: []
cloud_final_modules: []
write_files:
`
	if !strings.HasPrefix(string(data), head) {
		t.Errorf("the user-data begins with\n%.500s", data)
	}
}

func TestTooLargeUserDataNamesTheCulprit(t *testing.T) {
	machine := fullMachine()
	for i := range 500 {
		machine.Proxy.NoProxy += fmt.Sprintf("%x.example.com,", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	_, err := UserData(machine)
	var tooLarge TooLargeError
	if !errors.As(err, &tooLarge) || tooLarge.Largest != "juju-no-proxy of the model" || tooLarge.Size <= MaxSize {
		t.Errorf("UserData of a very long no-proxy: %v", err)
	}
}

func TestUserDataRefusesWhatCannotBeWritten(t *testing.T) {
	machine := fullMachine()
	machine.DockerMirror = "https://mirror\nA=b"
	if _, err := UserData(machine); err == nil || !strings.Contains(err.Error(), "more than one line") {
		t.Errorf("UserData of a mirror with a line break: %v", err)
	}
}
