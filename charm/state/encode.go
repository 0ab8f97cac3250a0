package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github-runner/charm/runner"
	"github-runner/charm/secret"
)

// format names the document that Encode writes. A change that an older or newer
// build would misread gets a new number.
const format = "github-runner/charm-state/1"

// maxDocument bounds what Decode reads: the largest options fit several times.
const maxDocument = 4 << 20

// document is a CharmState as it is stored.
type document struct {
	Format           string           `json:"format"`
	ModelUUID        string           `json:"model-uuid"`
	Unit             string           `json:"unit"`
	Scope            runner.Scope     `json:"scope"`
	GitHubURL        string           `json:"github-url"`
	Token            string           `json:"token"`
	TokenBySecret    bool             `json:"token-by-secret,omitempty"`
	App              appEntry         `json:"app,omitzero"`
	Group            string           `json:"group"`
	Labels           []string         `json:"labels"`
	Count            int              `json:"count"`
	ReconcileSeconds int64            `json:"reconcile-seconds"`
	BaseImage        string           `json:"base-image"`
	ImageSource      ImageSource      `json:"image-source,omitzero"`
	ImageSeconds     int64            `json:"image-seconds,omitempty"`
	ImagePackages    []string         `json:"image-packages,omitempty"`
	ImageScript      string           `json:"image-script,omitempty"`
	ImageRelation    imageEntry       `json:"image-relation,omitzero"`
	OpenStack        openStackEntry   `json:"openstack,omitzero"`
	InstanceType     InstanceType     `json:"instance-type"`
	CPU              int              `json:"cpu"`
	MemoryBytes      int64            `json:"memory-bytes"`
	DiskBytes        int64            `json:"disk-bytes"`
	Storage          Storage          `json:"storage"`
	Arch             Arch             `json:"arch"`
	Denylist         []netip.Prefix   `json:"denylist"`
	DockerhubMirror  string           `json:"dockerhub-mirror"`
	HTTPProxy        string           `json:"http-proxy"`
	HTTPSProxy       string           `json:"https-proxy"`
	NoProxy          string           `json:"no-proxy"`
	UseAproxy        bool             `json:"use-aproxy"`
	AproxyExclude    []AddrRange      `json:"aproxy-exclude,omitempty"`
	AproxyPorts      []PortRange      `json:"aproxy-ports,omitempty"`
	DebugHosts       []debugHostEntry `json:"debug-hosts"`
	MembersOnly      bool             `json:"members-only,omitempty"`
	Warnings         []string         `json:"warnings"`
}

type appEntry struct {
	ClientID       string `json:"client-id"`
	InstallationID int64  `json:"installation-id"`
	PrivateKey     string `json:"private-key"`
}

type imageEntry struct {
	Integrated  bool   `json:"integrated"`
	Application string `json:"application,omitempty"`
	ID          string `json:"id,omitempty"`
	Refused     bool   `json:"refused,omitempty"`
}

type openStackEntry struct {
	Clouds           string         `json:"clouds"`
	Flavor           string         `json:"flavor"`
	Network          string         `json:"network"`
	Image            string         `json:"image"`
	ProxyCommand     string         `json:"proxy-command,omitempty"`
	ManagerAddresses []netip.Prefix `json:"manager-addresses,omitempty"`
	PolicyURL        string         `json:"policy-url,omitempty"`
	PolicyToken      string         `json:"policy-token,omitempty"`
}

// IsZero reports whether the runners are on LXD.
func (e openStackEntry) IsZero() bool {
	return e.Clouds == ""
}

type debugHostEntry struct {
	Host               netip.Addr `json:"host"`
	Port               uint16     `json:"port"`
	RSAFingerprint     string     `json:"rsa-fingerprint"`
	Ed25519Fingerprint string     `json:"ed25519-fingerprint"`
}

// Encode returns the state as JSON, with its secrets in clear: it is for a file
// that only root can read.
func Encode(s CharmState) ([]byte, error) {
	if err := check(s); err != nil {
		return nil, fmt.Errorf("cannot encode the charm's state: %w", err)
	}
	d := document{
		Format:           format,
		ModelUUID:        s.Owner.ModelUUID,
		Unit:             s.Owner.Unit,
		Scope:            s.Scope,
		GitHubURL:        s.GitHubURL,
		Token:            s.Credential.Token.Reveal(),
		TokenBySecret:    s.Credential.TokenBySecret,
		Group:            s.Group,
		Labels:           s.Labels,
		Count:            s.Count,
		ReconcileSeconds: int64(s.ReconcileInterval / time.Second),
		BaseImage:        s.BaseImage,
		ImageSource:      s.ImageSource,
		ImageSeconds:     int64(s.ImageLife / time.Second),
		ImagePackages:    s.ImagePackages,
		ImageScript:      s.ImageScript,
		ImageRelation:    imageEntry(s.ImageRelation),
		InstanceType:     s.InstanceType,
		CPU:              s.Resources.CPU,
		MemoryBytes:      s.Resources.Memory,
		DiskBytes:        s.Resources.Disk,
		Storage:          s.Storage,
		Arch:             s.Arch,
		Denylist:         s.Denylist,
		DockerhubMirror:  s.DockerhubMirror,
		HTTPProxy:        s.Proxies.HTTP.Reveal(),
		HTTPSProxy:       s.Proxies.HTTPS.Reveal(),
		NoProxy:          s.Proxies.NoProxy,
		UseAproxy:        !s.Aproxy.IsZero(),
		AproxyExclude:    s.Aproxy.Exclude,
		AproxyPorts:      s.Aproxy.Ports,
		MembersOnly:      s.MembersOnly,
		Warnings:         s.Warnings,
	}
	if app := s.Credential.App; app != (App{}) {
		d.App = appEntry{ClientID: app.ClientID, InstallationID: app.InstallationID, PrivateKey: app.PrivateKey.Reveal()}
	}
	if o := s.OpenStack; s.OnOpenStack() {
		d.OpenStack = openStackEntry{
			Clouds: o.Clouds.Reveal(), Flavor: o.Flavor, Network: o.Network, Image: o.Image,
			ProxyCommand: o.ProxyCommand, ManagerAddresses: o.ManagerAddresses,
			PolicyURL: o.PolicyURL, PolicyToken: o.PolicyToken.Reveal(),
		}
	}
	for _, host := range s.DebugHosts {
		d.DebugHosts = append(d.DebugHosts, debugHostEntry(host))
	}
	encoded, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the charm's state: %w", err)
	}
	return encoded, nil
}

// Decode reads what Encode wrote, in this build or in any other since the first
// release. What it does not know is passed over: after a refresh back to an older
// build the rest is still true, and says where runners are registered. A document
// that is cut off, of another program, or holds what New would not have made is an
// error, which quotes nothing of it.
func Decode(encoded []byte) (CharmState, error) {
	d, err := decodeDocument(encoded)
	if err != nil {
		return CharmState{}, fmt.Errorf("cannot decode the charm's state: %w", err)
	}
	s := CharmState{
		Owner:             runner.Owner{ModelUUID: d.ModelUUID, Unit: d.Unit},
		Scope:             d.Scope,
		GitHubURL:         d.GitHubURL,
		Credential:        d.credential(),
		Group:             d.Group,
		Labels:            d.Labels,
		Count:             d.Count,
		ReconcileInterval: time.Duration(d.ReconcileSeconds) * time.Second,
		BaseImage:         d.BaseImage,
		ImageSource:       d.ImageSource,
		ImageLife:         time.Duration(d.ImageSeconds) * time.Second,
		ImagePackages:     d.ImagePackages,
		ImageScript:       d.ImageScript,
		ImageRelation:     ImageRelation(d.ImageRelation),
		InstanceType:      d.InstanceType,
		Resources:         Resources{CPU: d.CPU, Memory: d.MemoryBytes, Disk: d.DiskBytes},
		Storage:           d.Storage,
		Arch:              d.Arch,
		Denylist:          d.Denylist,
		DockerhubMirror:   d.DockerhubMirror,
		Proxies:           Proxies{HTTP: secret.New(d.HTTPProxy), HTTPS: secret.New(d.HTTPSProxy), NoProxy: d.NoProxy},
		MembersOnly:       d.MembersOnly,
		Warnings:          d.Warnings,
	}
	if o := d.OpenStack; !o.IsZero() {
		s.OpenStack = OpenStack{
			Clouds: secret.New(o.Clouds), Flavor: o.Flavor, Network: o.Network, Image: o.Image,
			ProxyCommand: o.ProxyCommand, ManagerAddresses: o.ManagerAddresses,
			PolicyURL: o.PolicyURL, PolicyToken: secret.New(o.PolicyToken),
		}
	}
	// Builds before aproxy took effect stored that it was asked for, without
	// ports.
	if d.UseAproxy && len(d.AproxyPorts) > 0 {
		s.Aproxy = Aproxy{Proxy: s.Proxies.Address(), Exclude: d.AproxyExclude, Ports: d.AproxyPorts}
	}
	for _, host := range d.DebugHosts {
		s.DebugHosts = append(s.DebugHosts, DebugHost(host))
	}
	if err := check(s); err != nil {
		return CharmState{}, fmt.Errorf("cannot decode the charm's state: %w", err)
	}
	return s, nil
}

// credential is the one of the document. Builds before there were others had a
// token.
func (d document) credential() Credential {
	return Credential{
		Token:         secret.New(d.Token),
		TokenBySecret: d.TokenBySecret,
		App:           App{ClientID: d.App.ClientID, InstallationID: d.App.InstallationID, PrivateKey: secret.New(d.App.PrivateKey)},
	}
}

func decodeDocument(encoded []byte) (document, error) {
	if len(encoded) > maxDocument {
		return document{}, errors.New("it is longer than any state")
	}
	// The format first: what is wrong in a foreign document is of no interest.
	var header struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(encoded, &header); err != nil {
		return document{}, errors.New("it is no complete JSON object")
	}
	if header.Format != format {
		return document{}, fmt.Errorf("its format is not %s", format)
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	var d document
	if err := decoder.Decode(&d); err != nil {
		return document{}, errors.New("it has values of the wrong type")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return document{}, errors.New("something follows it")
	}
	// check sees it as a Duration, which can't hold as many seconds.
	if d.ReconcileSeconds < 0 || d.ReconcileSeconds > maxInterval*60 {
		return document{}, errors.New("its reconcile-interval is not one that the charm makes")
	}
	return d, nil
}

// check returns an error for a state that New does not make. It catches what
// was damaged, and says only where.
func check(s CharmState) error {
	apiURL, apiOK := parseURL(s.Scope.API, "http", "https")
	_, serverOK := parseURL(s.GitHubURL, "http", "https")
	facts := []struct {
		name  string
		right bool
	}{
		{"owner", unitName.MatchString(s.Owner.Unit) && modelUUID.Matches(s.Owner.ModelUUID) && s.Owner.Check() == nil},
		{"scope", isPath(s.Scope.Path) && apiOK && apiURL.User == nil},
		{"github-url", serverOK},
		{"credential", s.Credential.isValid()},
		{"group", !s.Scope.IsOrganization() && s.Group == "" || s.Scope.IsOrganization() && isLine(s.Group, maxGroup)},
		{"labels", len(s.Labels) > 0 && len(s.Labels) <= maxLabels && !slices.ContainsFunc(s.Labels, func(l string) bool { return !isLabel(l) })},
		{"count", s.Count >= 0 && s.Count <= maxRunners},
		{"reconcile-interval", s.ReconcileInterval >= time.Minute && s.ReconcileInterval <= maxInterval*time.Minute},
		{"base-image", baseImages[s.BaseImage] == s.BaseImage && s.BaseImage != ""},
		{"image-source", s.ImageSource == ImageSource{} || s.ImageSource.isValid()},
		{"image-interval", s.ImageLife >= 0 && s.ImageLife <= maxImageInterval*24*time.Hour},
		{"image-packages", len(s.ImagePackages) <= maxImagePackages && !slices.ContainsFunc(s.ImagePackages, func(p string) bool { return !packageName.Matches(p) })},
		{"image-script", s.ImageScript == "" || scriptFault(s.ImageScript) == ""},
		{"image-relation", s.ImageRelation.isValid()},
		{"openstack", s.OpenStack.isValid()},
		{"instance-type", s.OnOpenStack() && s.InstanceType == "" || s.InstanceType == VirtualMachine || s.InstanceType == Container},
		{"resources", s.OnOpenStack() && s.Resources == Resources{} || s.Resources.CPU >= 1 && s.Resources.CPU <= maxCPU && s.Resources.Memory > 0 && s.Resources.Disk > 0},
		{"storage", s.OnOpenStack() && s.Storage == "" || s.Storage == JujuStorage || s.Storage == MemoryStorage},
		{"arch", s.Arch == AMD64 || s.Arch == ARM64},
		{"denylist", !slices.ContainsFunc(s.Denylist, func(p netip.Prefix) bool { return !p.IsValid() || p != p.Masked() })},
		{"dockerhub-mirror", isURLOrEmpty(s.DockerhubMirror, "https")},
		{"proxies", isURLOrEmpty(s.Proxies.HTTP.Reveal(), "http", "https") && isURLOrEmpty(s.Proxies.HTTPS.Reveal(), "http", "https")},
		{"no-proxy", s.Proxies.NoProxy == "" || !s.Proxies.IsZero() && isLine(s.Proxies.NoProxy, maxNoProxy)},
		{"aproxy", s.Aproxy.isValid(s.Proxies)},
		{"debug-hosts", !slices.ContainsFunc(s.DebugHosts, func(h DebugHost) bool { return !h.isValid() })},
	}
	for _, fact := range facts {
		if !fact.right {
			return fmt.Errorf("its %s is not one that the charm makes", fact.name)
		}
	}
	return nil
}

func isURLOrEmpty(value string, schemes ...string) bool {
	if value == "" {
		return true
	}
	_, ok := parseURL(value, schemes...)
	return ok
}
