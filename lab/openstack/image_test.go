package openstack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"github-runner/lab/faults"
)

// images is the names of the images that a project sees.
func (c *cloud) imageNames(all clients, opts images.ListOpts) []string {
	c.t.Helper()
	pages, err := images.List(all.image, opts).AllPages(c.t.Context())
	must(c.t, err)
	found, err := images.ExtractImages(pages)
	must(c.t, err)
	names := []string{}
	for _, i := range found {
		names = append(names, i.Name)
	}
	return names
}

func TestImages(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all, ctx := c.clients("lab"), t.Context()
		i, err := images.Create(ctx, all.image, images.CreateOpts{Name: "runner", Tags: []string{"unit-0"}, Properties: map[string]string{"os_distro": "ubuntu"}}).Extract()
		must(t, err)
		if i.Status != images.ImageStatusQueued || i.Properties["os_distro"] != "ubuntu" || i.Owner != nameID("project", "lab") {
			t.Errorf("a new image is %+v", i)
		}
		opts := c.runner(all, "runner-1")
		opts.ImageRef = i.ID
		refused(t, servers.Create(ctx, all.compute, opts, nil).Err, http.StatusBadRequest, "Image "+i.ID+" is not active.")
		refused(t, imagedata.Upload(ctx, all.image, i.ID, strings.NewReader("disk")).ExtractErr(), http.StatusBadRequest,
			"Properties disk_format, container_format must be set prior to saving data.")
		change := images.UpdateOpts{
			images.UpdateImageProperty{Op: images.AddOp, Name: "disk_format", Value: "raw"},
			images.UpdateImageProperty{Op: images.AddOp, Name: "container_format", Value: "bare"},
			images.UpdateImageProperty{Op: images.ReplaceOp, Name: "os_distro", Value: "debian"},
			images.UpdateImageProperty{Op: images.AddOp, Name: "unit", Value: "github-runner/0"},
			images.ReplaceImageMinDisk{NewMinDisk: 80},
		}
		i, err = images.Update(ctx, all.image, i.ID, change).Extract()
		if err != nil || i.DiskFormat != "raw" || i.Properties["os_distro"] != "debian" || i.MinDiskGigabytes != 80 {
			t.Errorf("the changed image is %+v, %v", i, err)
		}
		must(t, imagedata.Upload(ctx, all.image, i.ID, strings.NewReader("disk")).ExtractErr())
		refused(t, imagedata.Upload(ctx, all.image, i.ID, strings.NewReader("disk")).ExtractErr(), http.StatusConflict, "Image status transition from active to saving is not allowed")
		i, err = images.Get(ctx, all.image, i.ID).Extract()
		if err != nil || i.Status != images.ImageStatusActive || i.SizeBytes != 4 {
			t.Errorf("the image is %+v, %v", i, err)
		}
		refused(t, servers.Create(ctx, all.compute, opts, nil).Err, http.StatusBadRequest, "Flavor's disk is too small for requested image.")
		opts.FlavorRef = "4"
		if v := c.create(all, opts); v.Status != "ACTIVE" {
			t.Errorf("the server of the image is %s", v.Status)
		}
		must(t, images.Delete(ctx, all.image, i.ID).ExtractErr())
		refused(t, images.Delete(ctx, all.image, i.ID).ExtractErr(), http.StatusNotFound,
			`{"code":"404 Not Found","message":"No image found with ID `+i.ID+`<br /><br />\n\n\n","title":"Not Found"}`)
	})
}

func TestListingOfImages(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all := c.clients("lab")
		for n := range 30 {
			_, err := images.Create(t.Context(), all.image, images.CreateOpts{Name: fmt.Sprint("image-", n), Tags: []string{"mine"}}).Extract()
			must(t, err)
		}
		if got := c.imageNames(all, images.ListOpts{}); len(got) != 32 || got[0] != "image-29" || got[31] != "jammy" {
			t.Errorf("all images are %v", got)
		}
		for _, test := range []struct {
			opts images.ListOpts
			want []string
		}{
			{images.ListOpts{Name: "noble"}, []string{"noble"}},
			{images.ListOpts{Name: "nob"}, []string{}},
			{images.ListOpts{Name: "in:noble,jammy", Limit: 1}, []string{"noble", "jammy"}},
			{images.ListOpts{Status: images.ImageStatusActive}, []string{"noble", "jammy"}},
			{images.ListOpts{Owner: nobody}, []string{"noble", "jammy"}},
			{images.ListOpts{Tags: []string{"mine"}, Name: "image-3"}, []string{"image-3"}},
			{images.ListOpts{Name: "appliance"}, []string{}},
		} {
			if diff := cmp.Diff(test.want, c.imageNames(all, test.opts)); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", test.opts, diff)
			}
		}
		if diff := cmp.Diff([]string{"appliance"}, c.imageNames(c.clients("other"), images.ListOpts{Name: "appliance"})); diff != "" {
			t.Errorf("the others' image (-want +got):\n%s", diff)
		}
		c.fault(faults.Fault{Kind: ImageGone, Name: "noble"})
		if got := c.imageNames(all, images.ListOpts{Name: "noble"}); len(got) != 0 {
			t.Errorf("the gone image is among %v", got)
		}
	})
}

func TestImagesOfTheCloudStay(t *testing.T) {
	inCloud(t, Options{}, func(t *testing.T, c *cloud) {
		all, ctx := c.clients("lab"), t.Context()
		id := c.runner(all, "").ImageRef
		refused(t, images.Delete(ctx, all.image, id).ExtractErr(), http.StatusForbidden, "You are not authorized to complete delete_image action.")
		_, err := images.Update(ctx, all.image, id, images.UpdateOpts{images.ReplaceImageName{NewName: "mine"}}).Extract()
		refused(t, err, http.StatusForbidden, "You are not authorized to complete modify_image action.")
		visibility := images.ImageVisibilityPublic
		_, err = images.Create(ctx, all.image, images.CreateOpts{Name: "mine", Visibility: &visibility}).Extract()
		refused(t, err, http.StatusForbidden, "You are not authorized to complete publicize_image action.")
		protected := true
		i, err := images.Create(ctx, all.image, images.CreateOpts{Name: "mine", Protected: &protected}).Extract()
		must(t, err)
		refused(t, images.Delete(ctx, all.image, i.ID).ExtractErr(), http.StatusForbidden, "Image "+i.ID+" is protected and cannot be deleted.")
	})
}

func TestSnapshots(t *testing.T) {
	for _, version := range []string{"2.44", "2.90"} {
		t.Run(version, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all, ctx := c.clients("lab"), t.Context()
				v := c.create(all, c.runner(all, "builder"))
				all.compute.Microversion = version
				wanted := servers.CreateImageOpts{Name: "runner-image", Metadata: map[string]string{"unit": "github-runner/0"}}
				id, err := servers.CreateImage(ctx, all.compute, v.ID, wanted).ExtractImageID()
				must(t, err)
				refused(t, servers.CreateImage(ctx, all.compute, v.ID, wanted).Err, http.StatusConflict,
					"Cannot 'createImage' instance "+v.ID+" while it is in task_state image_snapshot")
				var states []string
				for range 3 {
					i, err := images.Get(ctx, all.image, id).Extract()
					must(t, err)
					states = append(states, string(i.Status)+" "+c.get(all, v.ID).TaskState)
					time.Sleep(c.options.Timing.Snapshot / 2) // of the bubble's fake clock
					synctest.Wait()
				}
				if diff := cmp.Diff([]string{"queued image_snapshot", "saving image_uploading", "active "}, states); diff != "" {
					t.Errorf("states (-want +got):\n%s", diff)
				}
				i, err := images.Get(ctx, all.image, id).Extract()
				must(t, err)
				if i.Properties["instance_uuid"] != v.ID || i.Properties["unit"] != "github-runner/0" || i.MinDiskGigabytes != 20 || i.Visibility != images.ImageVisibilityShared {
					t.Errorf("the image is %+v", i)
				}
			})
		})
	}
}

func TestSnapshotsThatGoWrong(t *testing.T) {
	tests := map[string]struct {
		fault faults.Fault
		act   func(c *cloud, all clients, server string) error
		// want is the image's status at the end; "": it is gone.
		want images.ImageStatus
	}{
		"fails": {faults.Fault{Kind: SnapshotFails}, nil, ""},
		"hangs": {faults.Fault{Kind: SnapshotHangs}, nil, images.ImageStatusSaving},
		"hangs until the server is deleted": {faults.Fault{Kind: SnapshotHangs}, func(c *cloud, all clients, server string) error {
			return servers.Delete(c.t.Context(), all.compute, server).ExtractErr()
		}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inCloud(t, Options{}, func(t *testing.T, c *cloud) {
				all, ctx := c.clients("lab"), t.Context()
				c.fault(test.fault)
				v := c.create(all, c.runner(all, "builder"))
				id, err := servers.CreateImage(ctx, all.compute, v.ID, servers.CreateImageOpts{Name: "image"}).ExtractImageID()
				must(t, err)
				if test.act != nil {
					must(t, test.act(c, all, v.ID))
				}
				time.Sleep(time.Minute) // of the bubble's fake clock
				i, err := images.Get(ctx, all.image, id).Extract()
				switch {
				case test.want == "" && !gophercloud.ResponseCodeIs(err, http.StatusNotFound):
					t.Errorf("the image is %+v, %v", i, err)
				case test.want != "" && (err != nil || i.Status != test.want):
					t.Errorf("the image is %+v, %v, want %s", i, err, test.want)
				}
			})
		})
	}
}
