package lxd

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/clock"
)

// ubuntuServer is the one server of images that the emulation reaches, and the aliases
// that each of its releases has there.
const ubuntuServer = "https://cloud-images.ubuntu.com/releases"

var ubuntuImages = map[string][]string{
	"22.04": {"22.04", "j", "jammy", "lts"},
	"24.04": {"24.04", "n", "noble"},
	"26.04": {"26.04", "r", "resolute"},
}

// noStream is how LXD begins to tell of a server that it can't read.
const noStream = "Failed getting remote image info: Failed getting image: Failed parsing stream: "

// beginDownload gets an image from a server. It checks what LXD checks before it
// answers; the rest is the operation's.
func (s *Server) beginDownload(post api.ImagesPost) (answer, error) {
	source := post.Source
	if source.Mode != "" && source.Mode != "pull" {
		return answer{}, refuse(http.StatusNotImplemented, "not implemented: images can't be pushed to the emulation")
	}
	if source.Protocol != "simplestreams" {
		return answer{}, refuse(http.StatusNotImplemented, "not implemented: the emulation has no image server but those with the protocol simplestreams")
	}
	return answer{operation: s.operations.start("Downloading image", nil, func(ctx context.Context, tell func(map[string]any)) (map[string]any, error) {
		return s.download(ctx, post, tell)
	})}, nil
}

func (s *Server) download(ctx context.Context, post api.ImagesPost, tell func(map[string]any)) (map[string]any, error) {
	source := post.Source
	if f := s.faults.Take(DownloadFails, source.Alias); f != nil {
		return nil, says("%s", f.Says(noStream+`Get "`+source.Server+`/streams/v1/index.json": dial tcp 185.125.190.40:443: connect: connection refused`))
	}
	image, err := remoteImage(*source)
	if err != nil {
		return nil, err
	}
	tell(map[string]any{"download_progress": "rootfs: 42% (3.21MB/s)"})
	if s.faults.Take(DownloadHangs, source.Alias) != nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err := clock.Pause(ctx, s.options.Timing.Download); err != nil {
		return nil, err
	}
	image.AutoUpdate, image.Public = post.AutoUpdate, post.Public
	image.UpdateSource = &api.ImageSource{Alias: source.Alias, Protocol: source.Protocol, Server: source.Server, ImageType: image.Type}
	return map[string]any{"fingerprint": image.Fingerprint, "size": fmt.Sprint(image.Size)}, s.addDownloaded(image, post.Aliases)
}

// remoteImage is what a server has under an alias.
func remoteImage(source api.ImagesPostSource) (*storedImage, error) {
	if source.Alias == "" {
		return nil, says("must specify one of alias or fingerprint for init from image")
	}
	if source.Server != ubuntuServer {
		host := source.Server
		if server, err := url.Parse(source.Server); err == nil {
			host = server.Hostname()
		}
		return nil, says(noStream+"Get %q: dial tcp: lookup %s: no such host", source.Server+"/streams/v1/index.json", host)
	}
	for release, aliases := range ubuntuImages {
		if slices.Contains(aliases, source.Alias) {
			return ubuntuImage(release, cmp.Or(source.ImageType, container)), nil
		}
	}
	return nil, says("Failed getting remote image info: Failed getting image: The requested image couldn't be found")
}

func ubuntuImage(release, kind string) *storedImage {
	sum := sha256.Sum256([]byte(ubuntuServer + release + kind))
	return &storedImage{Image: api.Image{
		Fingerprint: hex.EncodeToString(sum[:]), Filename: "ubuntu-" + release + "-server-cloudimg.squashfs",
		Size: packedSize, Type: kind, Architecture: architecture(), Profiles: []string{"default"}, Aliases: []api.ImageAlias{},
		Properties: map[string]string{"description": "ubuntu " + release + " LTS (release)", "os": "ubuntu", "release": release},
	}}
}

// addDownloaded adds an image, or gives one that is there already another alias.
func (s *Server) addDownloaded(image *storedImage, aliases []api.ImageAlias) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.images[image.Fingerprint]; there != nil {
		image = there
	} else {
		image.stamp()
		s.images[image.Fingerprint] = image
	}
	return s.alias(image, aliases)
}
