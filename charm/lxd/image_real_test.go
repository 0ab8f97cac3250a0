package lxd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/image"
	"github-runner/charm/runner"
	"github-runner/lab/archive"
	"github-runner/lab/skip"
)

// An image is made by the charm's own recipe, of a stock image whose archive is the
// test's, and a runner starts from it without downloading anything.
func TestRealImage(t *testing.T) {
	web := newWebServer(t)
	cloud := realCloud(t, func(c *Config) {
		c.ImageAlias, c.ImageLock, c.Arch = "ghr-test-stock", t.TempDir(), runtime.GOARCH
	})
	images := cloud.Images()
	if err := images.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	server, closed, err := cloud.connect(t.Context(), 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer closed()
	web.folder, web.archive = smallArchive(t), applicationOf(t, "2.999.1", web.url)
	stock := stockImage(t, cloud, server, "deb [trusted=yes] "+web.url+"/folder ./\n")
	if found, err := images.Stock(t.Context()); err != nil || found != stock {
		t.Fatalf("the stock image is %s, %v, not %s", found, err, stock)
	}

	release, err := images.Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	began := time.Now()
	built, err := image.Build(t.Context(), images, testRecipe(t, web), func(line string) {
		t.Logf("%5.1fs %s", time.Since(began).Seconds(), line)
		if listed, err := cloud.List(t.Context()); err != nil || len(listed) > 0 {
			t.Errorf("runners while an image is made: %v, %v", listed, err)
		}
		// While somebody makes an image, nothing of it is a leftover.
		if _, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("an image was made and tried in %v, without %q", time.Since(began).Round(time.Second), built.Skipped)
	nothingLeft(t, cloud, server)
	found, _, err := server.GetImage(built.Fingerprint)
	if err != nil || found.Properties[propertyBase] != stock || found.Properties[propertyVersion] != "2.999.1" || found.Properties[propertyRecipe] != built.Recipe {
		t.Errorf("the image is %+v, %v", found, err)
	}

	template, err := cloud.Prepare(t.Context(), web.want())
	if err != nil || template.Image != built.Fingerprint || len(template.Warnings) > 0 {
		t.Fatalf("runners start from %s with the warnings %q, %v", template.Image, template.Warnings, err)
	}
	began = time.Now()
	name := born(t, cloud, web)
	t.Logf("a runner was online after %.1fs", time.Since(began).Seconds())
	if calls := web.downloads.Load(); calls != 1 {
		t.Errorf("the application was downloaded %d times: once for the image, not for the runner", calls)
	}
	web.run(name, `for program in docker npm yarn jq yq gh shellcheck; do $program || exit 1; done; cat /etc/made-by-script; call ready`)
	web.await(t, "ready")
	until(t, cloud, name, func(i runner.Instance) bool { return i.Status == runner.StatusStopped })
	if err := cloud.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	release()

	t.Run("the one before stays", func(t *testing.T) { usesNext(t, cloud, server, built.Fingerprint) })
	t.Run("ends without a result", func(t *testing.T) { endsWithoutAWord(t, cloud, server, stock) })
	t.Run("killed", func(t *testing.T) { leftByAKilledProcess(t, cloud, server, stock) })
	t.Run("the last unit", func(t *testing.T) {
		if err := errors.Join(cloud.Destroy(t.Context()), images.Retire(t.Context())); err != nil {
			t.Fatal(err)
		}
		all, err := server.GetImages()
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if isMade(one) {
				t.Errorf("the image %v stays", one.Properties)
			}
		}
	})
}

// usesNext makes runners start from images that were made of the first, each older
// than the one before it.
func usesNext(t *testing.T, cloud *Cloud, server server, first string) {
	images := cloud.Images()
	release, err := images.Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	nothing := []byte("#cloud-config\nruncmd: [[sh, -c, 'echo {} > /home/ubuntu/metrics-exchange/" + image.ResultFile + "; poweroff']]\n")
	if result, err := images.Run(t.Context(), first, nothing, func(string) {}); err != nil || string(result) != "{}\n" {
		t.Fatalf("the machine left %q, %v", result, err)
	}
	before := first
	for _, test := range []struct {
		days    time.Duration
		current bool
		warning string
	}{
		{21, true, "made 21 days ago"},
		{29, false, "start from the stock image"},
	} {
		fingerprint, err := images.Publish(t.Context(), image.About{Recipe: "aged", Made: time.Now().Add(-test.days * 24 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		if err := images.Use(t.Context(), fingerprint); err != nil {
			t.Fatal(err)
		}
		if previous, err := server.aliased(Container, cloud.madeAlias()+previousSuffix); err != nil || previous != before {
			t.Errorf("the image before is %s, %v, not %s", previous, err, before)
		}
		template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
		if err != nil || (template.Image == fingerprint) != test.current || !strings.Contains(strings.Join(template.Warnings, "\n"), test.warning) {
			t.Errorf("after %d days runners start from %s with the warnings %q, %v", test.days, template.Image, template.Warnings, err)
		}
		before = fingerprint
	}
	if err := images.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.GetImage(first); !errors.Is(classify(err), runner.ErrNotFound) {
		t.Errorf("the oldest image stays: %v", err)
	}
	nothingLeft(t, cloud, server)
}

func endsWithoutAWord(t *testing.T, cloud *Cloud, server server, stock string) {
	images := cloud.Images()
	userData := []byte("#cloud-config\nruncmd: [[sh, -c, 'echo I am lost > /home/ubuntu/metrics-exchange/diag.log; poweroff']]\n")
	_, err := images.Run(t.Context(), stock, userData, func(string) {})
	if !errors.Is(err, image.ErrGone) || !strings.Contains(err.Error(), "I am lost") {
		t.Errorf("a machine that ends without a result: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := cloud.events(ctx, isInstance(cloud.config.imageMachine()))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range changes {
			if instance, _, err := server.GetInstance(cloud.config.imageMachine()); err == nil && instance.StatusCode == api.Running {
				cancel()
			}
		}
	}()
	if _, err := images.Run(ctx, stock, []byte("#cloud-config\n"), func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("a machine that hangs: %v", err)
	}
	if err := images.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func leftByAKilledProcess(t *testing.T, cloud *Cloud, server server, stock string) {
	images := cloud.Images()
	if err := images.start(t.Context(), stock, []byte("#cloud-config\n")); err != nil {
		t.Fatal(err)
	}
	release, err := images.Lock(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := server.GetInstance(cloud.config.imageMachine()); err != nil {
		t.Errorf("a machine whose maker lives: %v", err)
	}
	release()
	if _, err := cloud.Prepare(t.Context(), runner.Want{}); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, cloud, server)
}

// nothingLeft fails the test where the machine for images, or its folder, is there.
func nothingLeft(t *testing.T, cloud *Cloud, server server) {
	t.Helper()
	name := cloud.config.imageMachine()
	if _, _, err := server.GetInstance(name); !errors.Is(classify(err), runner.ErrNotFound) {
		t.Errorf("the machine for images: %v", err)
	}
	if _, err := os.Lstat(cloud.exchange(name).path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its exchange folder: %v", err)
	}
}

// stockImage is the lab's image with other sources of packages, under the alias that
// the cloud takes for the stock image's.
func stockImage(t *testing.T, cloud *Cloud, server server, sources string) (fingerprint string) {
	t.Helper()
	const name = "ghr-test-stock"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := func() { server.change(http.MethodDelete, apiPath("instances", name), nil, "") }
	remove()
	request := api.InstancesPost{
		Name:        name,
		Type:        Container,
		Source:      api.InstanceSource{Type: "image", Alias: "noble"},
		InstancePut: api.InstancePut{Profiles: []string{cloud.profileName(false)}},
	}
	must(server.change(http.MethodPost, "/instances", request, ""))
	defer remove()
	address := "http://lxd/1.0" + apiPath("instances", name, "files") + "?path=" + url.QueryEscape("/etc/apt/sources.list")
	push, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(sources))
	must(err)
	push.Header.Set("X-LXD-type", "file")
	push.Header.Set("X-LXD-mode", "0644")
	response, err := server.DoHTTP(push)
	must(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatal(refusal(response))
	}
	said, err := server.perform(http.MethodPost, "/images", api.ImagesPost{
		Source:               &api.ImagesPostSource{Type: "instance", Name: name},
		CompressionAlgorithm: "zstd",
	}, "")
	must(err)
	fingerprint = said["fingerprint"].(string)
	must(server.point(cloud.config.ImageAlias, fingerprint, ""))
	t.Cleanup(func() {
		other, closed, err := cloud.connect(context.Background(), deleteDeadline)
		if err == nil {
			err = other.deleteImage(fingerprint)
			closed()
		}
		if err != nil {
			t.Error(err)
		}
	})
	return fingerprint
}

// testRecipe is the charm's, with what the web server has in place of GitHub's.
func testRecipe(t *testing.T, web *webServer) image.Recipe {
	t.Helper()
	yq, err := os.ReadFile(filepath.Join(web.folder, archive.YQ))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(yq)
	application := web.want().Application
	application.Version = "2.999.1"
	return image.Recipe{
		Application:     application,
		YQ:              image.Download{URL: web.url + "/folder/" + archive.YQ, SHA256: hex.EncodeToString(sum[:])},
		Script:          "#!/bin/sh\ndate > /etc/made-by-script\n",
		ExchangeMounted: true,
	}
}

// smallArchive makes a folder that is an archive of packages.
func smallArchive(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath(archive.Tool); err != nil {
		skip.Because(t, "an archive of packages for an image: %v", err)
	}
	folder := t.TempDir()
	if err := archive.Make(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

// applicationOf is the tests' runner application with a program that says its version.
func applicationOf(t *testing.T, version, address string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	packed := tar.NewWriter(zipped)
	for name, script := range map[string]string{
		"./run.sh":              strings.ReplaceAll(testApplication, "URL", address),
		"./bin/Runner.Listener": "#!/bin/sh\necho " + version + "\n",
	} {
		if err := packed.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(script))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(packed, script); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(packed.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}
