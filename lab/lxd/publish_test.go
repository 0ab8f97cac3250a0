package lxd

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/canonical/lxd/shared/api"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github-runner/charm/cloudinit"
	"github-runner/charm/image"
)

// makeMachine creates and starts a machine for images.
func (d *daemon) makeMachine(name, kind string, source api.InstanceSource, facts image.Facts) {
	d.t.Helper()
	dir := filepath.Join(d.exchange, name)
	must(d.t, os.MkdirAll(dir, 0o700))
	content, err := json.Marshal(facts)
	must(d.t, err)
	document, err := yaml.Marshal(map[string]any{"write_files": []map[string]string{{"path": image.FactsPath, "content": string(content)}}})
	must(d.t, err)
	source.Type = "image"
	must(d.t, d.wait(d.client.CreateInstance(api.InstancesPost{
		Name: name, Type: api.InstanceType(kind), Source: source,
		InstancePut: api.InstancePut{
			Profiles: []string{"runner"},
			Config:   map[string]string{"cloud-init.user-data": "#cloud-config\n" + string(document)},
			Devices:  devices{"exchange": {"type": "disk", "source": dir, "path": cloudinit.ExchangeDir}},
		},
	})))
	must(d.t, d.power(name, "start"))
}

// ended waits until a machine for images has powered off, and returns what it says.
func (d *daemon) ended(name string) image.Result {
	d.t.Helper()
	d.waitFile(name, image.ResultFile)
	deadline := time.Now().Add(soon)
	for d.status(name) != "Stopped" {
		if time.Now().After(deadline) {
			d.t.Fatalf("%s does not power off", name)
		}
		// Another process may be the daemon: it tells nobody here.
		time.Sleep(time.Millisecond)
	}
	content, _ := d.file(name, image.ResultFile)
	var result image.Result
	must(d.t, json.Unmarshal([]byte(content), &result))
	return result
}

// publish makes an image of an instance.
func (d *daemon) publish(name string, properties map[string]string) (fingerprint string, err error) {
	operation, err := d.client.CreateImage(api.ImagesPost{
		ImagePut: api.ImagePut{Properties: properties}, Source: &api.ImagesPostSource{Type: "instance", Name: name},
	}, nil)
	if err := d.wait(operation, err); err != nil {
		return "", err
	}
	fingerprint, _ = operation.Get().Metadata["fingerprint"].(string)
	return fingerprint, nil
}

func TestImageIsMadeAndTried(t *testing.T) {
	for _, kind := range []string{container, virtualMachine} {
		t.Run(kind, func(t *testing.T) {
			dir := shortDir(t)
			var fingerprint string
			t.Run("made", func(t *testing.T) {
				d := furnish(serveIn(t, dir))
				d.makeMachine("builder", kind, d.stock(kind), image.Facts{RunnerVersion: "2.330.0", Packages: []string{"docker.io"}})
				if diff := cmp.Diff(image.Result{RunnerVersion: "2.330.0"}, d.ended("builder")); diff != "" {
					t.Errorf("the builder says (-want +got):\n%s", diff)
				}
				if progress, _ := d.file("builder", image.ProgressFile); progress != "installing the runner application\n" {
					t.Errorf("the last progress is %q", progress)
				}
				if log, _ := d.file("builder", cloudinit.DiagFile); !strings.Contains(log, "installing packages\n") {
					t.Errorf("the log says %q", log)
				}
				if _, ok := d.file("builder", cloudinit.PostJobMetricsFile); ok {
					t.Error("the builder leaves what runners leave")
				}
				var err error
				fingerprint, err = d.publish("builder", map[string]string{"runner-version": "2.330.0"})
				must(t, err)
				if _, err := d.publish("builder", map[string]string{"runner-version": "2.330.0"}); err == nil || !strings.Contains(err.Error(), "already exists") {
					t.Errorf("the same image again: %v", err)
				}
				other, err := d.publish("builder", nil)
				must(t, err)
				shown, _, err := d.client.GetImage(other)
				must(t, err)
				if other == fingerprint || shown.Properties["release"] != "24.04" {
					t.Errorf("an image without properties of its own is shown as %+v", shown)
				}
			})
			// An emulation that was ended and started again has it still.
			d := serveIn(t, dir)
			shown, _, err := d.client.GetImage(fingerprint)
			must(t, err)
			if shown.Type != kind || shown.Architecture != architecture() || shown.Properties["runner-version"] != "2.330.0" {
				t.Errorf("the image is shown as %+v", shown)
			}
			trial := image.Facts{Trial: true, RunnerVersion: "2.331.0"}
			d.makeMachine("trial", kind, api.InstanceSource{Fingerprint: fingerprint}, trial)
			if diff := cmp.Diff(image.Result{RunnerVersion: "2.330.0"}, d.ended("trial")); diff != "" {
				t.Errorf("the trial says (-want +got):\n%s", diff)
			}
			d.makeMachine("stock", kind, d.stock(kind), trial)
			if result := d.ended("stock"); result.Error == "" || result.RunnerVersion != "" {
				t.Errorf("the trial of a stock image says %+v", result)
			}
			must(t, d.wait(d.client.DeleteImage(fingerprint)))
			if _, _, err := d.client.GetImage(fingerprint); !api.StatusErrorCheck(err, http.StatusNotFound) {
				t.Errorf("the deleted image: %v", err)
			}
		})
	}
}

// stock is the image of a type that all begins with.
func (d *daemon) stock(kind string) api.InstanceSource {
	for _, image := range d.Possessions().Images {
		if image.Type == kind && image.Properties["release"] == "24.04" && image.Filename != "" {
			return api.InstanceSource{Fingerprint: image.Fingerprint}
		}
	}
	d.t.Fatalf("there is no image of %ss", kind)
	return api.InstanceSource{}
}

func TestFaultsOfMachinesForImages(t *testing.T) {
	build, trial := image.Facts{RunnerVersion: "2.330.0"}, image.Facts{Trial: true, RunnerVersion: "2.330.0"}
	tests := map[string]struct {
		fault Fault
		facts image.Facts
		want  string
	}{
		"build":       {Fault{Kind: BuildFails}, build, "cannot install packages: apt-get: exit status 100"},
		"build says":  {Fault{Kind: BuildFails, Message: "no docker.io"}, build, "no docker.io"},
		"application": {Fault{Kind: AppExits, Message: "libicu is missing"}, trial, "libicu is missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t)
			_, err := d.faults.Add(test.fault)
			must(t, err)
			d.makeMachine("m1", container, api.InstanceSource{Alias: "noble"}, test.facts)
			if diff := cmp.Diff(image.Result{Error: test.want}, d.ended("m1")); diff != "" {
				t.Errorf("the machine says (-want +got):\n%s", diff)
			}
			if log, _ := d.file("m1", cloudinit.DiagFile); !strings.HasSuffix(log, test.want+"\n") {
				t.Errorf("the log says %q", log)
			}
		})
	}
}

func TestBuildThatHangs(t *testing.T) {
	d := startDaemon(t)
	_, err := d.faults.Add(Fault{Kind: BuildHangs})
	must(t, err)
	d.makeMachine("m1", container, api.InstanceSource{Alias: "noble"}, image.Facts{RunnerVersion: "2.330.0"})
	d.waitFile("m1", image.ProgressFile)
	if _, err := d.publish("m1", nil); err == nil || !strings.Contains(err.Error(), "Cannot export a running instance as an image") {
		t.Errorf("an image of a running machine: %v", err)
	}
	must(t, d.power("m1", "stop"))
	if _, ok := d.file("m1", image.ResultFile); ok {
		t.Error("a machine that has lost its power leaves a result")
	}
}

func TestPublishFails(t *testing.T) {
	tests := map[string]struct {
		fault       Fault
		compression string
		want        string
	}{
		"packed":   {Fault{Kind: PublishFails}, "", "signal: broken pipe"},
		"unpacked": {Fault{Kind: PublishFails}, "none", "no space left on device"},
		"message":  {Fault{Kind: PublishFails, Name: "m*", Message: "I/O error"}, "", "I/O error"},
		"hangs":    {Fault{Kind: PublishHangs}, "", "deadline exceeded"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t)
			must(t, d.create("m1", ""))
			_, err := d.faults.Add(test.fault)
			must(t, err)
			operation, err := d.client.CreateImage(api.ImagesPost{
				CompressionAlgorithm: test.compression, Source: &api.ImagesPostSource{Type: "instance", Name: "m1"},
			}, nil)
			must(t, err)
			limit := soon
			if test.fault.Kind == PublishHangs {
				limit = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := operation.WaitContext(ctx); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the operation says %v, want %q", err, test.want)
			}
			if images := d.Possessions().Images; len(images) != 2*len(imageReleases) {
				t.Errorf("there are %d images", len(images))
			}
		})
	}
}
