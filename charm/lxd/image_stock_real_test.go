package lxd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github-runner/charm/runner"
)

// streams is a server with the protocol simplestreams that has one image. Its root file
// system is none: LXD looks into it when an instance is made, and here none is.
type streams struct {
	*httptest.Server
	files       map[string][]byte
	fingerprint string
	downloads   atomic.Int32
	// gate is what a download of the root file system waits for, when it is set.
	gate atomic.Pointer[chan struct{}]
}

// newStreams serves the image under the alias "24.04".
func newStreams(t *testing.T) *streams {
	t.Helper()
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64"}[runtime.GOARCH]
	meta, root := imageMetadata(t), make([]byte, 4<<20)
	rand.Read(root)
	combined := sha256.Sum256(append(bytes.Clone(meta), root...))
	item := func(kind, path string, content []byte) map[string]any {
		sum := sha256.Sum256(content)
		return map[string]any{"ftype": kind, "path": path, "size": len(content), "sha256": hex.EncodeToString(sum[:])}
	}
	metaItem := item("lxd.tar.xz", "meta", meta)
	metaItem["combined_squashfs_sha256"] = hex.EncodeToString(combined[:])
	product := "com.example:server:24.04:" + arch
	index := map[string]any{"format": "index:1.0", "index": map[string]any{"images": map[string]any{
		"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json", "products": []string{product},
	}}}
	images := map[string]any{"format": "products:1.0", "datatype": "image-downloads", "products": map[string]any{product: map[string]any{
		"aliases": "24.04,noble", "arch": arch, "os": "ubuntu", "release": "noble", "release_title": "24.04 LTS", "supported": true,
		"versions": map[string]any{"20261101": map[string]any{"label": "release", "items": map[string]any{
			"lxd.tar.xz": metaItem, "squashfs": item("squashfs", "root", root),
		}}},
	}}}
	s := &streams{fingerprint: hex.EncodeToString(combined[:]), files: map[string][]byte{"/meta": meta, "/root": root}}
	for path, content := range map[string]any{"/streams/v1/index.json": index, "/streams/v1/images.json": images} {
		encoded, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		s.files[path] = encoded
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// imageMetadata is the archive that says what an image is.
func imageMetadata(t *testing.T) []byte {
	t.Helper()
	text := fmt.Sprintf("architecture: %s\ncreation_date: %d\nproperties:\n  description: stock image of a test\n", architectures[runtime.GOARCH], time.Now().Unix())
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	err := archive.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(text))})
	if _, writeErr := archive.Write([]byte(text)); writeErr != nil {
		err = writeErr
	}
	if err := errors.Join(err, archive.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// ServeHTTP serves the files.
func (s *streams) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, ok := s.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Path == "/root" && r.Method == http.MethodGet {
		s.downloads.Add(1)
		if gate := s.gate.Load(); gate != nil {
			<-*gate
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// streamsCloud is a cloud whose stock image is of such a server.
func streamsCloud(t *testing.T, s *streams, alias string) (*Cloud, server) {
	t.Helper()
	cloud := realCloud(t, func(c *Config) {
		c.Arch, c.ImageSource = runtime.GOARCH, ImageSource{Server: s.URL, Alias: alias, Named: true}
	})
	server, closed, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closed)
	t.Cleanup(func() {
		if err := cloud.Images().Retire(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return cloud, server
}

func TestRealStockImage(t *testing.T) {
	t.Run("is downloaded", func(t *testing.T) {
		s := newStreams(t)
		cloud, server := streamsCloud(t, s, "24.04")
		found, err := cloud.findStock(server, 1)
		if err != nil || found != s.fingerprint {
			t.Fatalf("got the image %s, %v, want %s", found, err, s.fingerprint)
		}
		image, _, err := server.GetImage(found)
		if err != nil || !image.AutoUpdate || !isDownloaded(*image) || isUnused(*image) {
			t.Errorf("the image is %+v, %v", image, err)
		}
		if again, err := cloud.findStock(server, 1); err != nil || again != found || s.downloads.Load() != 1 {
			t.Errorf("got the image %s, %v after %d downloads", again, err, s.downloads.Load())
		}
	})

	t.Run("takes its time", func(t *testing.T) {
		s := newStreams(t)
		gate := make(chan struct{})
		s.gate.Store(&gate)
		cloud, server := streamsCloud(t, s, "noble")
		cloud.patience = time.Second
		changes, err := cloud.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := cloud.findStock(server, 1); !errors.Is(err, runner.ErrPending) {
				t.Errorf("got error %v while it is downloaded", err)
			}
		}
		if n := s.downloads.Load(); n != 1 {
			t.Errorf("it is downloaded %d times at once", n)
		}
		close(gate)
		for found := ""; found == ""; {
			select {
			case <-changes:
				found, err = cloud.findStock(server, 1)
			case <-t.Context().Done():
			}
			if err != nil && !errors.Is(err, runner.ErrPending) || t.Context().Err() != nil {
				t.Fatalf("got error %v after it was downloaded", err)
			}
		}
	})

	for _, test := range []struct {
		name  string
		alias string
		harm  func(*streams)
		want  string
	}{
		{"truncated", "24.04", func(s *streams) { s.files["/root"] = s.files["/root"][:1<<20] }, "Hash mismatch"},
		{"another file", "24.04", func(s *streams) { s.files["/root"] = bytes.Clone(s.files["/root"]); s.files["/root"][7]++ }, "Hash mismatch"},
		{"no such image", "27.13", func(*streams) {}, "The requested image couldn't be found"},
		{"no server", "24.04", func(s *streams) { s.Close() }, "connection refused"},
		{"no streams", "24.04", func(s *streams) { delete(s.files, "/streams/v1/index.json") }, "404 Not Found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStreams(t)
			test.harm(s)
			cloud, server := streamsCloud(t, s, test.alias)
			_, err := cloud.findStock(server, 1)
			var trouble runner.Trouble
			if !errors.As(err, &trouble) || errors.Is(err, runner.ErrPending) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if left := stockImages(t, server); len(left) > 0 {
				t.Errorf("it leaves %+v", left)
			}
		})
	}
}
