package lxd

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
	emulation "github-runner/lab/lxd"
)

const ubuntuServer = "https://cloud-images.ubuntu.com/releases"

// resoluteCloud is one whose LXD has no image of its release.
func resoluteCloud(t *testing.T, source ImageSource) (*Cloud, server, *emulation.Control) {
	t.Helper()
	return emulatedCloud(t, func(c *Config) { c.ImageAlias, c.ImageSource, c.Arch = "resolute", source, runtime.GOARCH })
}

// stockImages are the images that were downloaded for units.
func stockImages(t *testing.T, server server) []api.Image {
	t.Helper()
	all, err := server.GetImages()
	if err != nil {
		t.Fatal(err)
	}
	var found []api.Image
	for _, image := range all {
		if isDownloaded(image) {
			found = append(found, image)
		}
	}
	return found
}

func TestStockImageIsDownloaded(t *testing.T) {
	cloud, server, _ := resoluteCloud(t, ImageSource{Server: ubuntuServer, Alias: "resolute"})
	if template, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil || template.Image != "" || len(stockImages(t, server)) > 0 {
		t.Errorf("where no runner is wanted: image %q, %v, %v", template.Image, err, stockImages(t, server))
	}
	template, err := cloud.Prepare(t.Context(), hashWant())
	if err != nil {
		t.Fatal(err)
	}
	found := stockImages(t, server)
	if len(found) != 1 || found[0].Fingerprint != template.Image || !found[0].AutoUpdate || found[0].Type != Container {
		t.Errorf("runners start from %s, downloaded were %+v", template.Image, found)
	}
	again, err := cloud.Prepare(t.Context(), hashWant())
	if err != nil || again.Hash != template.Hash {
		t.Errorf("the next look: %+v, %v", again, err)
	}
	if err := errors.Join(cloud.Destroy(t.Context()), cloud.Images().Retire(t.Context())); err != nil {
		t.Fatal(err)
	}
	if left := stockImages(t, server); len(left) > 0 {
		t.Errorf("the last unit leaves %+v", left)
	}
}

// What an operator gives the name of the release comes first, unless the option names a
// source.
func TestStockNames(t *testing.T) {
	source := ImageSource{Server: ubuntuServer, Alias: "noble"}
	for _, test := range []struct {
		name   string
		source ImageSource
		local  bool
	}{
		{"of the release", source, true},
		{"of a state of before there were sources", ImageSource{}, true},
		{"local alone", ImageSource{Alias: "noble", Named: true}, true},
		{"a named source", ImageSource{Server: ubuntuServer, Alias: "noble", Named: true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			cloud, server, _ := emulatedCloud(t, func(c *Config) { c.ImageSource = test.source })
			local, err := server.aliased(Container, "noble")
			if err != nil || local == "" {
				t.Fatal(err)
			}
			template, err := cloud.Prepare(t.Context(), hashWant())
			if err != nil || (template.Image == local) != test.local {
				t.Errorf("runners start from %s, that in LXD is %s, %v", template.Image, local, err)
			}
		})
	}
}

func TestStockImageOfVirtualMachines(t *testing.T) {
	cloud, server, _ := resoluteCloud(t, ImageSource{Server: ubuntuServer, Alias: "26.04"})
	container, err := cloud.findStock(server, 1)
	if err != nil {
		t.Fatal(err)
	}
	cloud.config.InstanceType = VirtualMachine
	machine, err := cloud.findStock(server, 1)
	if err != nil || machine == container {
		t.Errorf("both kinds start from %s and %s, %v", container, machine, err)
	}
}

func TestStockImageThatCanNotBeHad(t *testing.T) {
	for _, test := range []struct {
		name   string
		source ImageSource
		fault  emulation.Fault
		want   string
	}{
		{"no network", ImageSource{Server: ubuntuServer, Alias: "resolute"}, emulation.Fault{Kind: emulation.DownloadFails, Message: "dial tcp: i/o timeout"},
			"LXD can't download the runners' image resolute from " + ubuntuServer + ": see image-source, and LXD's own proxy (lxc config set core.proxy_https=URL): dial tcp: i/o timeout"},
		{"no such server", ImageSource{Server: "https://images.example.com", Alias: "n", Named: true}, emulation.Fault{}, "lookup images.example.com: no such host"},
		{"no such image", ImageSource{Server: ubuntuServer, Alias: "27.13", Named: true}, emulation.Fault{}, "The requested image couldn't be found"},
		{"nothing is downloaded", ImageSource{Alias: "resolute", Named: true}, emulation.Fault{}, "no image for the runners: lxc image copy ubuntu:26.04 local: --alias resolute"},
		{"no such name in LXD", ImageSource{Alias: "hardened", Named: true}, emulation.Fault{}, "lxc image copy REMOTE:IMAGE local: --alias hardened"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cloud, server, control := resoluteCloud(t, test.source)
			if test.fault.Kind != "" {
				if _, err := control.AddFault(t.Context(), test.fault); err != nil {
					t.Fatal(err)
				}
			}
			_, err := cloud.Prepare(t.Context(), hashWant())
			var trouble runner.Trouble
			if !errors.As(err, &trouble) || errors.Is(err, runner.ErrPending) || !strings.Contains(trouble.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if left := stockImages(t, server); len(left) > 0 {
				t.Errorf("it leaves %+v", left)
			}
		})
	}
}

// A download goes on without who asked for it; who asks meanwhile waits for the same.
func TestStockImageThatTakesItsTime(t *testing.T) {
	cloud, server, control := resoluteCloud(t, ImageSource{Server: ubuntuServer, Alias: "resolute"})
	cloud.patience = 0
	if _, err := control.AddFault(t.Context(), emulation.Fault{Kind: emulation.DownloadHangs}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := cloud.Prepare(t.Context(), hashWant())
		if want := "LXD downloads the runners' image resolute from " + ubuntuServer; !errors.Is(err, runner.ErrPending) || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q", err, want)
		}
	}
	var operations []api.Operation
	for len(operations) == 0 || progressOf(&operations[0]) == "" {
		var err error
		if operations, err = server.GetOperations(); err != nil || len(operations) != 1 {
			t.Fatalf("operations: %+v, %v", operations, err)
		}
	}
	if got, want := progressOf(&operations[0]), " (rootfs: 42% (3.21MB/s))"; got != want {
		t.Errorf("got the progress %q, want %q", got, want)
	}

	// The end of LXD is that of the download.
	if _, err := control.ClearFaults(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := control.Restart(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	changes, err := cloud.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Prepare(t.Context(), hashWant()); err != nil && !errors.Is(err, runner.ErrPending) {
		t.Fatal(err)
	}
	<-changes
	if _, err := cloud.Prepare(t.Context(), hashWant()); err != nil {
		t.Errorf("when LXD has told of the image: %v", err)
	}
}

// The making of an image is an operation that has the same description.
func TestDownloadsAndPacking(t *testing.T) {
	progress := func(key string) map[string]any { return map[string]any{key: "rootfs: 42% (3.21MB/s)"} }
	for _, test := range []struct {
		name              string
		operation         api.Operation
		download, packing bool
	}{
		{"begun", api.Operation{Description: "Downloading image"}, true, true},
		{"download", api.Operation{Description: "Downloading image", Metadata: progress("download_progress")}, true, false},
		{"packing", api.Operation{Description: "Downloading image", Metadata: progress("create_image_from_container_pack_progress")}, false, true},
		{"another", api.Operation{Description: "Creating instance"}, false, false},
	} {
		if download, packing := isDownload(test.operation), isPacking(test.operation); download != test.download || packing != test.packing {
			t.Errorf("%s: got download %v, packing %v, want %v, %v", test.name, download, packing, test.download, test.packing)
		}
	}
}

// A stock image that no option names any more goes when it has not been used for long.
func TestUnusedStockImages(t *testing.T) {
	now := time.Now()
	alias := func(name string) []api.ImageAlias { return []api.ImageAlias{{Name: name}} }
	for _, test := range []struct {
		name  string
		image api.Image
		want  bool
	}{
		{"used lately", api.Image{Aliases: alias(sourcePrefix + "0badcafe"), UploadedAt: now.AddDate(0, -6, 0), LastUsedAt: now.AddDate(0, 0, -20)}, false},
		{"downloaded lately", api.Image{Aliases: alias(sourcePrefix + "0badcafe"), UploadedAt: now.AddDate(0, 0, -20)}, false},
		{"used long ago", api.Image{Aliases: alias(sourcePrefix + "0badcafe"), UploadedAt: now.AddDate(0, -6, 0), LastUsedAt: now.AddDate(0, 0, -31)}, true},
		{"used long ago, and kept up to date", api.Image{Aliases: alias(sourcePrefix + "0badcafe"), UploadedAt: now, LastUsedAt: now.AddDate(0, 0, -31)}, true},
		{"never used", api.Image{Aliases: alias(sourcePrefix + "0badcafe"), UploadedAt: now.AddDate(0, 0, -31)}, true},
		{"an operator's name", api.Image{Aliases: append(alias(sourcePrefix+"0badcafe"), api.ImageAlias{Name: "mine"}), UploadedAt: now.AddDate(0, -6, 0)}, false},
		{"an operator's own", api.Image{Aliases: alias("noble"), UploadedAt: now.AddDate(0, -6, 0)}, false},
		{"one that was made", api.Image{Aliases: alias("github-runner-noble-amd64-container"), UploadedAt: now.AddDate(0, -6, 0)}, false},
	} {
		if got := isUnused(test.image); got != test.want {
			t.Errorf("%s: got unused %v, want %v", test.name, got, test.want)
		}
	}
}

// An operator who gives the image a name keeps it.
func TestStockImageWithAnotherName(t *testing.T) {
	cloud, server, _ := resoluteCloud(t, ImageSource{Server: ubuntuServer, Alias: "resolute"})
	template, err := cloud.Prepare(t.Context(), hashWant())
	if err != nil {
		t.Fatal(err)
	}
	alias := api.ImageAliasesPost{ImageAliasesEntry: api.ImageAliasesEntry{Name: "mine", Target: template.Image}}
	if err := server.change(http.MethodPost, "/images/aliases", alias, ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cloud.Destroy(t.Context()), cloud.Images().Retire(t.Context())); err != nil {
		t.Fatal(err)
	}
	kept, _, err := server.GetImage(template.Image)
	if err != nil || len(kept.Aliases) != 1 || kept.Aliases[0].Name != "mine" {
		t.Errorf("the image is %+v, %v, want it with the operator's name alone", kept, err)
	}
}

// answers is an LXD whose operation is asked for.
type answers struct {
	wait  error
	state api.Operation
	err   error
}

func (a answers) RawQuery(_, path string, _ any, _ string) (*api.Response, string, error) {
	if strings.Contains(path, "/wait?") {
		return nil, "", a.wait
	}
	if a.err != nil {
		return nil, "", a.err
	}
	encoded, err := json.Marshal(a.state)
	return &api.Response{Metadata: encoded}, "", err
}

// LXD 5.0 answers the end of a wait's time by how the operation is, 5.21 by an error.
func TestGlimpse(t *testing.T) {
	late := errors.New("context deadline exceeded")
	for _, test := range []struct {
		name    string
		answers answers
		want    api.StatusCode
		err     error
	}{
		{"still at it", answers{state: api.Operation{StatusCode: api.Running}}, api.Running, nil},
		{"still at it, as LXD 5.21 says it", answers{wait: late, state: api.Operation{StatusCode: api.Running}}, api.Running, nil},
		{"over", answers{state: api.Operation{StatusCode: api.Success}}, api.Success, nil},
		{"failed meanwhile", answers{wait: late, state: api.Operation{StatusCode: api.Failure, Err: "no route to host"}}, api.Failure, nil},
		{"forgotten", answers{wait: late, err: api.StatusErrorf(http.StatusNotFound, "Operation not found")}, api.Pending, nil},
		{"no LXD", answers{wait: late, err: &url.Error{Op: "Get", Err: errors.New("connection refused")}}, api.Pending, runner.ErrUnreachable},
	} {
		t.Run(test.name, func(t *testing.T) {
			operation := api.Operation{ID: "one", StatusCode: api.Pending}
			err := server{writer: test.answers, ctx: t.Context()}.glimpse(&operation, time.Second)
			if operation.StatusCode != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %v, error %v, want %v, %v", operation.StatusCode, err, test.want, test.err)
			}
		})
	}
}
