package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	client "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/image"
	"github-runner/charm/lxd"
	"github-runner/charm/runner"
	"github-runner/lab/archive"
)

const (
	// archiveFolder is where the image that a build begins with has its packages.
	archiveFolder = "/opt/archive"
	// sourcesFile is where apt reads that.
	sourcesFile = "/etc/apt/sources.list"
	// plainName is an instance of the floor's that is no runner.
	plainName = floorPrefix + "plain"
)

// builder makes images on the shared pool by the charm's recipe.
type builder struct {
	server client.InstanceServer
	cloud  *lxd.Cloud
	yq     image.Download
	// stock is the fingerprint of the lab's image, base that of one with the same
	// content and an archive of packages, built that of what is made of it.
	stock, base, built string
}

// newBuilder makes the image that a build begins with.
func newBuilder(ctx context.Context, on *stage, server client.InstanceServer) (_ *builder, err error) {
	work := filepath.Join(on.dir, "builder")
	packages := filepath.Join(work, "archive")
	if err := os.MkdirAll(packages, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a folder for packages: %w", err)
	}
	if err := archive.Make(ctx, packages); err != nil {
		return nil, err
	}
	b := &builder{server: server}
	b.cloud, err = lxd.New(lxd.Config{
		Owner:        runner.Owner{ModelUUID: on.model, Unit: "builder/0"},
		Socket:       on.lxdSocket(),
		ExchangeDir:  filepath.Join(work, "exchange"),
		ImageAlias:   testAlias,
		ImageLock:    work,
		Arch:         runtime.GOARCH,
		InstanceType: lxd.Container,
		CPU:          2,
		Memory:       2 << 30,
		Disk:         4 << 30,
		StorageKind:  lxd.JujuStorage,
		Log:          silent(),
	})
	if err != nil {
		return nil, err
	}
	entry, _, err := server.GetImageAlias(imageAlias)
	if err != nil {
		return nil, fmt.Errorf("cannot find the stock image %s: %w", imageAlias, err)
	}
	b.stock = entry.Target
	if err := b.makeBase(ctx, packages); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make an image with an archive of packages: %w", err), b.close(context.WithoutCancel(ctx)))
	}
	return b, nil
}

// makeBase puts an archive into a copy of the stock image.
func (b *builder) makeBase(ctx context.Context, packages string) (err error) {
	if err := b.create(ctx, plainName, b.stock); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.remove(context.WithoutCancel(ctx), plainName)) }()
	if err := b.server.CreateInstanceFile(plainName, archiveFolder, client.InstanceFileArgs{Type: "directory", Mode: 0o755}); err != nil {
		return err
	}
	entries, err := os.ReadDir(packages)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(packages, entry.Name()))
		if err != nil {
			return err
		}
		if entry.Name() == archive.YQ {
			sum := sha256.Sum256(content)
			b.yq = image.Download{URL: "file://" + archiveFolder + "/" + archive.YQ, SHA256: hex.EncodeToString(sum[:])}
		}
		if err := b.write(archiveFolder+"/"+entry.Name(), content); err != nil {
			return err
		}
	}
	if err := b.write(sourcesFile, []byte("deb [trusted=yes] file:"+archiveFolder+" ./\n")); err != nil {
		return err
	}
	if b.base, err = b.publish(ctx, plainName, "with an archive"); err != nil {
		return err
	}
	post := api.ImageAliasesPost{}
	post.Name, post.Target = testAlias, b.base
	return b.server.CreateImageAlias(post)
}

func (b *builder) write(path string, content []byte) error {
	return b.server.CreateInstanceFile(plainName, path, client.InstanceFileArgs{Type: "file", Mode: 0o644, Content: bytes.NewReader(content)})
}

// build makes an image by the charm's recipe, from testAlias, and tells how long it
// took until runners would start from it.
func (b *builder) build(ctx context.Context, application runner.Application, progress func(string)) (time.Duration, error) {
	images := b.cloud.Images()
	release, err := images.Lock(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer release()
	if err := images.Ready(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	built, err := image.Build(ctx, images, image.Recipe{Application: application, YQ: b.yq, ExchangeMounted: true}, progress)
	if err != nil {
		return 0, err
	}
	b.built = built.Fingerprint
	return time.Since(began), nil
}

// plain is the least that makes an image: an instance is created, and packed as the
// charm does it. It tells how long that took.
func (b *builder) plain(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	if err := b.create(ctx, plainName, b.base); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.remove(context.WithoutCancel(ctx), plainName)) }()
	made, err := b.publish(ctx, plainName, "by plain calls")
	took = time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, b.deleteImage(ctx, made)
}

// point lets testAlias lead to an image.
func (b *builder) point(fingerprint string) error {
	if err := b.server.UpdateImageAlias(testAlias, api.ImageAliasesEntryPut{Target: fingerprint}, ""); err != nil {
		return fmt.Errorf("cannot let %s lead to another image: %w", testAlias, err)
	}
	return nil
}

// create makes a container of an image with nothing but a disk.
func (b *builder) create(ctx context.Context, name, fingerprint string) error {
	operation, err := b.server.CreateInstance(bare(name, fingerprint))
	return await(ctx, operation, err)
}

func bare(name, fingerprint string) api.InstancesPost {
	return api.InstancesPost{
		Name:   name,
		Type:   api.InstanceTypeContainer,
		Source: api.InstanceSource{Type: "image", Fingerprint: fingerprint},
		InstancePut: api.InstancePut{
			Profiles: []string{},
			Devices:  map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": poolName}},
		},
	}
}

func (b *builder) publish(ctx context.Context, name, what string) (fingerprint string, err error) {
	operation, err := b.server.CreateImage(api.ImagesPost{
		ImagePut:             api.ImagePut{Properties: map[string]string{"description": "for benchmarks, " + what}},
		Source:               &api.ImagesPostSource{Type: "instance", Name: name},
		CompressionAlgorithm: "zstd",
	}, nil)
	if err := await(ctx, operation, err); err != nil {
		return "", fmt.Errorf("cannot make an image of %s: %w", name, err)
	}
	fingerprint, _ = operation.Get().Metadata["fingerprint"].(string)
	return fingerprint, nil
}

func (b *builder) remove(ctx context.Context, name string) error {
	operation, err := b.server.DeleteInstance(name)
	return await(ctx, operation, err)
}

func (b *builder) deleteImage(ctx context.Context, fingerprint string) error {
	operation, err := b.server.DeleteImage(fingerprint)
	return await(ctx, operation, err)
}

// close removes all that the builder made.
func (b *builder) close(ctx context.Context) error {
	problems := []error{b.cloud.Destroy(ctx), ignoreMissing(b.server.DeleteImageAlias(testAlias))}
	for _, fingerprint := range []string{b.built, b.base} {
		if fingerprint != "" {
			problems = append(problems, b.deleteImage(ctx, fingerprint))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("cannot remove what images were made with: %w", err)
	}
	return nil
}

// begin measures two creations of a container from an image: LXD has to unpack it for
// the first. They are as the charm makes them, or bare.
func (f *floor) begin(ctx context.Context, fingerprint string, plainly bool) (measured begun, err error) {
	// What is unpacked on the pool; with dir there is nothing of the kind.
	if err := ignoreMissing(f.server.DeleteStoragePoolVolume(poolName, "image", fingerprint)); err != nil {
		return measured, fmt.Errorf("cannot remove the unpacked image: %w", err)
	}
	runners, err := f.prepare(ctx, 2)
	defer func() { err = errors.Join(err, f.remove(context.WithoutCancel(ctx), runners)) }()
	if err != nil {
		return measured, err
	}
	for i, seconds := range []*float64{&measured.first, &measured.next} {
		request := runners[i].request
		if plainly {
			request = bare(request.Name, fingerprint)
		}
		began := time.Now()
		operation, err := f.server.CreateInstance(request)
		if err := await(ctx, operation, err); err != nil {
			return measured, fmt.Errorf("cannot create a container: %w", err)
		}
		*seconds = time.Since(began).Seconds()
	}
	return measured, nil
}

// await waits for an operation, unless it could not be begun.
func await(ctx context.Context, operation client.Operation, err error) error {
	if err != nil {
		return err
	}
	return operation.WaitContext(ctx)
}
