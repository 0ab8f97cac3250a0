package lxd

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/canonical/lxd/shared/api"

	"github-runner/lab/skip"
)

// imageConversation is about images that are made of instances. It takes an image
// with the alias emucmp-base. An alias is not changed by PATCH in it, which stops a
// real daemon for 10 to 20 s, nor an image made from no source, which ends the
// connection.
var imageConversation = []request{
	{"POST", "/1.0/storage-pools", `{"name":"emucmp","driver":"dir"}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":[],"devices":{"root":{"type":"disk","path":"/","pool":"emucmp"}},"source":{"type":"image","alias":"emucmp-base"}}`},
	{"POST", "/1.0/images", `nojson`},
	{"POST", "/1.0/images", `{"source":{}}`},
	{"POST", "/1.0/images", `{"source":{"name":"emucmp"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"thin-air","name":"emucmp"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp9"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp/snap"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"snapshot","name":"emucmp"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp9"},"compression_algorithm":"emucmp"}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"compression_algorithm":"sh -c x"}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"compression_algorithm":"squashfs"}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"compression_algorithm":"none","public":true,"filename":"x","properties":{"emucmp":"a","user.x":"y"},"aliases":[{"name":"emucmp-a","description":"d"}]}`},
	{"GET", "/1.0/images/FINGERPRINT", ""},
	{"GET", "/1.0/images/aliases/emucmp-a", ""},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"compression_algorithm":"none","public":true,"filename":"x","properties":{"emucmp":"a","user.x":"y"}}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"properties":{"emucmp":"b"},"aliases":[{"name":"emucmp-a"}]}`},
	{"POST", "/1.0/images", `{"source":{"type":"instance","name":"emucmp"},"properties":{"emucmp":"c"},"compression_algorithm":"gzip -1"}`},
	{"GET", "/1.0/images/FINGERPRINT", ""},

	{"PUT", "/1.0/images/emucmp", `{}`},
	{"PATCH", "/1.0/images/emucmp", `{}`},
	{"PUT", "/1.0/images/FINGERPRINT", `nojson`},
	{"PUT", "/1.0/images/FINGERPRINT", `{"profiles":["emucmp9"]}`},
	{"PUT", "/1.0/images/FINGERPRINT", `{"properties":{"emucmp":"d","empty":""},"public":true,"auto_update":false}`},
	{"PATCH", "/1.0/images/FINGERPRINT", `{"public":"a"}`},
	{"PATCH", "/1.0/images/FINGERPRINT", `{"public":false}`},
	{"PATCH", "/1.0/images/FINGERPRINT", `{"properties":{"more":"e"}}`},
	{"GET", "/1.0/images/FINGERPRINT", ""},

	{"POST", "/1.0/images/aliases", `nojson`},
	{"POST", "/1.0/images/aliases", `{"name":"emucmp-b"}`},
	{"POST", "/1.0/images/aliases", `{"name":"emucmp-b","target":"emucmp"}`},
	{"POST", "/1.0/images/aliases", `{"name":"emucmp-b","target":"FINGERPRINT","description":"x"}`},
	{"POST", "/1.0/images/aliases", `{"name":"emucmp-b","target":"FINGERPRINT"}`},
	{"PUT", "/1.0/images/aliases/emucmp-a", `nojson`},
	{"PUT", "/1.0/images/aliases/emucmp-a", `{}`},
	{"PUT", "/1.0/images/aliases/emucmp-a", `{"target":"emucmp"}`},
	{"PUT", "/1.0/images/aliases/emucmp9", `{}`},
	{"PUT", "/1.0/images/aliases/emucmp9", `{"target":"FINGERPRINT"}`},
	{"PUT", "/1.0/images/aliases/emucmp-a", `{"target":"FINGERPRINT","description":"moved"}`},
	{"PATCH", "/1.0/images/aliases/emucmp-a", `nojson`},
	{"PATCH", "/1.0/images/aliases/emucmp-a", `{"target":7}`},
	{"PATCH", "/1.0/images/aliases/emucmp-a", `{"description":[]}`},
	{"PATCH", "/1.0/images/aliases/emucmp9", `{"target":"FINGERPRINT"}`},
	{"POST", "/1.0/images/aliases/emucmp-a", `nojson`},
	{"POST", "/1.0/images/aliases/emucmp-a", `{"name":"emucmp-b"}`},
	{"POST", "/1.0/images/aliases/emucmp9", `{"name":"emucmp-b"}`},
	{"POST", "/1.0/images/aliases/emucmp9", `{"name":"emucmp-c"}`},
	{"POST", "/1.0/images/aliases/emucmp-a", `{"name":"emucmp-c"}`},
	{"GET", "/1.0/images/aliases/emucmp-a", ""},
	{"GET", "/1.0/images/aliases/emucmp-c", ""},
	{"GET", "/1.0/images/FINGERPRINT", ""},
	{"DELETE", "/1.0/images/aliases/emucmp-b", ""},

	{"DELETE", "/1.0/instances/emucmp", ""},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":[],"devices":{"root":{"type":"disk","path":"/","pool":"emucmp"}},"source":{"type":"image"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","type":"virtual-machine","profiles":[],"devices":{"root":{"type":"disk","path":"/","pool":"emucmp"}},"source":{"type":"image","fingerprint":"FINGERPRINT"}}`},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":[],"devices":{"root":{"type":"disk","path":"/","pool":"emucmp"}},"source":{"type":"image","fingerprint":"FINGERPRINT"}}`},
	{"DELETE", "/1.0/images/FINGERPRINT", ""},
	{"GET", "/1.0/images/FINGERPRINT", ""},
	{"GET", "/1.0/images/aliases/emucmp-c", ""},
	{"DELETE", "/1.0/instances/emucmp", ""},
	{"POST", "/1.0/instances", `{"name":"emucmp","profiles":[],"devices":{"root":{"type":"disk","path":"/","pool":"emucmp"}},"source":{"type":"image","fingerprint":"FINGERPRINT"}}`},
	{"DELETE", "/1.0/images/aliases/emucmp-base", ""},
	{"DELETE", "/1.0/storage-pools/emucmp", ""},
}

func TestImagesAsTheRealDaemon(t *testing.T) {
	dir := os.Getenv(realDir)
	if dir == "" {
		skip.Because(t, "%s names no folder of a real LXD to compare with", realDir)
	}
	removeLeftovers(t, dir)
	t.Cleanup(func() { removeLeftovers(t, dir) })
	client := dialSocket(filepath.Join(dir, "unix.socket"))
	uploadSmallImage(t, client)
	wanted := converse(t, client, t.TempDir(), imageConversation)
	d := serveIn(t, shortDir(t))
	nameForImages(t, d)
	answered := converse(t, dialSocket(d.Socket()), t.TempDir(), imageConversation)
	compare(t, imageConversation, wanted, answered)
}

// nameForImages gives an emulation the alias that imageConversation takes.
func nameForImages(t *testing.T, d *daemon) {
	t.Helper()
	noble, _, err := d.client.GetImageAlias("noble")
	must(t, err)
	post := api.ImageAliasesPost{}
	post.Name, post.Target = "emucmp-base", noble.Target
	must(t, d.client.CreateImageAlias(post))
}

// uploadSmallImage gives a real daemon an image of hardly anything, with the alias
// that imageConversation takes: packing a whole system takes a minute.
func uploadSmallImage(t *testing.T, client *http.Client) {
	t.Helper()
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	metadata := "architecture: " + architecture() + "\ncreation_date: 1700000000\nproperties:\n  emucmp: base\n"
	must(t, writer.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(metadata))}))
	_, err := writer.Write([]byte(metadata))
	must(t, err)
	must(t, writer.WriteHeader(&tar.Header{Name: "rootfs/etc/", Typeflag: tar.TypeDir, Mode: 0o755}))
	must(t, writer.Close())
	response, err := client.Post("http://lxd/1.0/images", "application/octet-stream", &archive)
	must(t, err)
	defer response.Body.Close()
	var started struct{ Operation string }
	must(t, json.NewDecoder(response.Body).Decode(&started))
	_, ended := exchange(t, client, request{"GET", started.Operation + "/wait?timeout=60", ""})
	operation, _ := ended["metadata"].(map[string]any)
	made, _ := operation["metadata"].(map[string]any)
	fingerprint, _ := made["fingerprint"].(string)
	if status, answer := exchange(t, client, request{"POST", "/1.0/images/aliases", `{"name":"emucmp-base","target":"` + fingerprint + `"}`}); status != http.StatusCreated {
		t.Fatalf("the small image is not there: %v, %v", ended, answer)
	}
}

// imagesLeft are the requests that remove the images of a comparison.
func imagesLeft(t *testing.T, client *http.Client) []request {
	t.Helper()
	response, err := client.Get("http://lxd/1.0/images?recursion=1")
	if err != nil {
		return nil // it is told where the requests are made
	}
	defer response.Body.Close()
	var all struct{ Metadata []api.Image }
	must(t, json.NewDecoder(response.Body).Decode(&all))
	var requests []request
	for _, image := range all.Metadata {
		if image.Properties["emucmp"] != "" {
			requests = append(requests, request{"DELETE", "/1.0/images/" + image.Fingerprint, ""})
		}
	}
	return requests
}
