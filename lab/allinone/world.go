package allinone

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/provider"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"

	emulation "github-runner/lab/openstack"
)

// makeNetwork makes the network. QEMU's servers are joined to a bridge that is named
// for it, where the host is their router.
func (f *furnisher) makeNetwork(ctx context.Context, name string) error {
	shared := true
	network, err := networks.Create(ctx, f.network, provider.CreateOptsExt{
		CreateOptsBuilder: networks.CreateOpts{Name: name, Shared: &shared},
		Segments:          []provider.Segment{{NetworkType: "flat", PhysicalNetwork: physical}},
	}).Extract()
	if err != nil {
		return fmt.Errorf("cannot make the network %s: %w", name, err)
	}
	gateway, dhcp := f.Subnet.Addr().Next().String(), false
	if err := subnets.Create(ctx, f.network, subnets.CreateOpts{
		Name: name, NetworkID: network.ID, IPVersion: 4, CIDR: f.Subnet.String(), GatewayIP: &gateway, EnableDHCP: &dhcp,
	}).Err; err != nil {
		return fmt.Errorf("cannot make the network %s: %w", name, err)
	}
	if f.Guests != QEMU {
		return nil
	}
	return f.makeBridge(ctx, "brq"+network.ID[:11], gateway)
}

// makeBridge makes the host's end of the network, and the host a router.
func (f *furnisher) makeBridge(ctx context.Context, name, gateway string) error {
	for _, argv := range [][]string{
		{"ip", "link", "add", name, "type", "bridge"},
		{"ip", "address", "add", fmt.Sprintf("%s/%d", gateway, f.Subnet.Bits()), "dev", name},
		{"ip", "link", "set", name, "up"},
	} {
		if err := run(ctx, argv...); err != nil {
			return fmt.Errorf("cannot make the host's bridge: %w", err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("cannot make the host a router: %w", err)
	}
	return nil
}

// fakeDisk is the size of an image that nothing boots from.
const fakeDisk = 64 << 10

// bootOptions are for the kernel, which QEMU loads by itself.
const bootOptions = "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off"

// makeImages makes the public images; all have the same content.
func (f *furnisher) makeImages(ctx context.Context, all []emulation.Image) error {
	properties := map[string]string{}
	if f.Guests == QEMU {
		kernel, err := f.upload(ctx, images.CreateOpts{Name: "kernel", DiskFormat: "aki", ContainerFormat: "aki"}, f.Image.Kernel)
		if err != nil {
			return err
		}
		initrd, err := f.upload(ctx, images.CreateOpts{Name: "initrd", DiskFormat: "ari", ContainerFormat: "ari"}, f.Image.Initrd)
		if err != nil {
			return err
		}
		properties = map[string]string{
			"kernel_id": kernel, "ramdisk_id": initrd, "os_command_line": bootOptions,
			"hw_disk_bus": "virtio", "hw_vif_model": "virtio",
		}
	}
	for _, one := range all {
		if one.Project != "" {
			continue
		}
		for key, value := range one.Properties {
			properties[key] = value
		}
		create := images.CreateOpts{
			Name: one.Name, MinDisk: one.MinDisk, ContainerFormat: "bare", DiskFormat: "raw", Properties: properties,
		}
		if f.Guests == QEMU {
			create.DiskFormat = "qcow2"
		}
		if _, err := f.upload(ctx, create, f.Image.Disk); err != nil {
			return err
		}
	}
	return nil
}

// upload makes an image of a file; of no content where there is no path.
func (f *furnisher) upload(ctx context.Context, create images.CreateOpts, path string) (id string, err error) {
	var content io.Reader = bytes.NewReader(make([]byte, fakeDisk))
	if path != "" {
		file, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("cannot make the image %s: %w", create.Name, err)
		}
		defer file.Close()
		content = file
	}
	public := images.ImageVisibilityPublic
	create.Visibility = &public
	image, err := images.Create(ctx, f.image, create).Extract()
	if err != nil {
		return "", fmt.Errorf("cannot make the image %s: %w", create.Name, err)
	}
	if err := imagedata.Upload(ctx, f.image, image.ID, content).Err; err != nil {
		return "", fmt.Errorf("cannot make the image %s: %w", create.Name, err)
	}
	return image.ID, nil
}
