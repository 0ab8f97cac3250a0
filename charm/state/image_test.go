package state

import "testing"

func TestImageSource(t *testing.T) {
	for _, test := range []struct {
		option string
		want   ImageSource
	}{
		{"", ImageSource{Server: "https://cloud-images.ubuntu.com/releases", Alias: "noble"}},
		{"local", ImageSource{Alias: "noble", Named: true}},
		{"local:team/noble-hardened", ImageSource{Alias: "team/noble-hardened", Named: true}},
		{"ubuntu:24.04", ImageSource{Server: "https://cloud-images.ubuntu.com/releases", Alias: "24.04", Named: true}},
		{"ubuntu-minimal-daily:noble", ImageSource{Server: "https://cloud-images.ubuntu.com/minimal/daily", Alias: "noble", Named: true}},
		{"https://images.example.com/:n", ImageSource{Server: "https://images.example.com", Alias: "n", Named: true}},
	} {
		t.Run(test.option, func(t *testing.T) {
			source := sourceWith(map[string]any{"base-image": "24.04", "image-source": test.option})
			if got := mustNew(t, source).ImageSource; got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
