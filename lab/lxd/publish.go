package lxd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/clock"
)

// What an image of an instance is said to have, in bytes.
const (
	packedSize   = 76419271
	unpackedSize = 221386752
)

// compressors are the programs that LXD packs an image with, and whether they are
// there: those of Debian are.
var compressors = map[string]bool{
	"bzip2": true, "gzip": true, "lzma": true, "pzstd": true, "xz": true, "zstd": true,
	"pigz": false, "tar2sqfs": false,
}

// sources are the sources of images that LXD knows; fromInstances are those that are
// an instance.
var (
	fromInstances = []string{"container", "instance", "virtual-machine", "snapshot"}
	sources       = append([]string{"image", "url"}, fromInstances...)
)

// postImages makes an image of an instance. It checks what LXD checks before it
// answers; the rest is the operation's.
func (s *Server) postImages(r *http.Request) (answer, error) {
	if r.Header.Get("Content-Type") != "application/json" {
		return answer{}, refuse(http.StatusNotImplemented, "not implemented: images can't be uploaded to the emulation")
	}
	var post api.ImagesPost
	if err := decode(r, &post); err != nil {
		return answer{}, err
	}
	if post.Source == nil || !slices.Contains(sources, post.Source.Type) {
		return answer{}, says("Invalid images JSON")
	}
	if err := checkCompression(post.CompressionAlgorithm); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "%v", err)
	}
	if post.Source.Type == "image" {
		return s.beginDownload(post)
	}
	if !slices.Contains(fromInstances, post.Source.Type) {
		return answer{}, refuse(http.StatusNotImplemented, "not implemented: the emulation reaches no images by plain URLs")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var i *instance
	if post.Source.Name != "" {
		var err error
		if i, err = s.find(post.Source.Name); err != nil {
			return answer{}, err
		}
	}
	return answer{operation: s.operations.begin("Downloading image", nil, func(ctx context.Context) (map[string]any, error) {
		return s.publish(ctx, post, i)
	})}, nil
}

// checkCompression takes a program's name and its arguments.
func checkCompression(algorithm string) error {
	if algorithm == "" || algorithm == "none" {
		return nil
	}
	if algorithm == "squashfs" {
		algorithm = "tar2sqfs"
	}
	program, _, _ := strings.Cut(algorithm, " ")
	installed, known := compressors[program]
	switch {
	case !known:
		return says("Invalid compression algorithm %q", program)
	case !installed:
		return says("exec: %q: executable file not found in $PATH", program)
	}
	return nil
}

// publish is the operation that makes an image of an instance; nil when the request
// has named none.
func (s *Server) publish(ctx context.Context, post api.ImagesPost, i *instance) (map[string]any, error) {
	switch {
	case i == nil:
		return nil, says("No source provided")
	case post.Source.Type == "snapshot":
		return nil, says("Not a snapshot")
	}
	image, err := s.packed(post, i)
	if err != nil {
		return nil, err
	}
	if s.faults.Take(PublishHangs, i.Name) != nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := clock.Pause(ctx, s.options.Timing.Publish); err != nil {
		return nil, err
	}
	if f := s.faults.Take(PublishFails, i.Name); f != nil {
		return nil, says("%s", f.Says(s.noRoom(post, i)))
	}
	metadata := map[string]any{"fingerprint": image.Fingerprint, "size": strconv.FormatInt(image.Size, 10)}
	return metadata, s.addImage(image, post.Aliases)
}

// packed is the image that an instance makes. One that has not changed since makes
// the same again.
func (s *Server) packed(post api.ImagesPost, i *instance) (*storedImage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.running {
		return nil, says("Cannot export a running instance as an image")
	}
	image := &storedImage{Files: maps.Clone(i.Files), Image: api.Image{
		Filename: post.Filename, Size: packedSize, Type: i.Type, Architecture: architecture(),
		Public: post.Public, Properties: maps.Clone(post.Properties), ExpiresAt: post.ExpiresAt,
		Profiles: []string{"default"}, Aliases: []api.ImageAlias{},
	}}
	if post.CompressionAlgorithm == "none" {
		image.Size = unpackedSize
	}
	if image.Properties == nil {
		image.Properties = i.imageProperties()
	}
	content, err := json.Marshal([]any{
		i.Type, i.Config["volatile.uuid"], i.LastUsed, i.Files, image.Properties, image.ExpiresAt,
		cmp.Or(post.CompressionAlgorithm, "gzip"),
	})
	if err != nil {
		return nil, fmt.Errorf("cannot pack the instance: %w", err)
	}
	sum := sha256.Sum256(content)
	image.Fingerprint = hex.EncodeToString(sum[:])
	return image, nil
}

// imageProperties are those of the image that the instance was made from.
func (i *instance) imageProperties() map[string]string {
	properties := make(map[string]string)
	for key, value := range i.Config {
		if name, ok := strings.CutPrefix(key, "image."); ok {
			properties[name] = value
		}
	}
	return properties
}

// noRoom is what LXD says where its disk is full: of a program that packs it knows
// only that it has ended.
func (s *Server) noRoom(post api.ImagesPost, i *instance) string {
	if post.CompressionAlgorithm != "none" {
		return "signal: broken pipe"
	}
	dir := filepath.Join(s.options.Dir, "lxd")
	return fmt.Sprintf("Failed to copy file content \"%s/containers/%s/rootfs/usr/bin/bash\": write %s/images/lxd_build_396483708/lxd_build_image_931012112: no space left on device", dir, i.Name, dir)
}

// addImage adds an image that was packed. It stays where an alias can't be had.
func (s *Server) addImage(image *storedImage, aliases []api.ImageAlias) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images[image.Fingerprint] != nil {
		return says("The image already exists: %s", image.Fingerprint)
	}
	image.stamp()
	s.images[image.Fingerprint] = image
	return s.alias(image, aliases)
}

// stamp notes that an image is there from now on.
func (i *storedImage) stamp() {
	i.CreatedAt = time.Now().UTC()
	i.UploadedAt = i.CreatedAt
}

// alias gives an image that was just made more aliases; s.mu is held.
func (s *Server) alias(image *storedImage, aliases []api.ImageAlias) error {
	defer s.keep(storedImages, image.Fingerprint, image)
	taken := s.aliases()
	for _, alias := range aliases {
		if _, ok := taken[alias.Name]; ok {
			return says("Alias already exists: %s", alias.Name)
		}
	}
	image.Aliases = append(image.Aliases, aliases...)
	s.events.lifecycle("image-created", "images/"+image.Fingerprint, map[string]any{"type": image.Type}, true)
	return nil
}
