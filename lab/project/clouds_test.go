package project

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAccountIsReadAgain(t *testing.T) {
	want := Account{URL: "http://192.0.2.1:5000/v3", Region: "RegionOne", Project: "lab", User: "ann", Password: "a: 'b'"}
	content, err := want.CloudsYAML()
	if err != nil {
		t.Fatal(err)
	}
	got, err := AccountIn(content)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

func TestNoAccount(t *testing.T) {
	for _, content := range []string{"", "clouds: {}", "\thunter2", "clouds: {a: [hunter2]}"} {
		if _, err := AccountIn([]byte(content)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", content, err)
		}
	}
}
