package lxd

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEachOf(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []int
		bad        bool
	}{
		{name: "a list", text: `{"type": "sync", "metadata": [1, 2, 3], "after": {"metadata": [4]}}`, want: []int{1, 2, 3}},
		{name: "an empty list", text: `{"metadata": []}`},
		{name: "null", text: `{"metadata": null, "type": "sync"}`},
		{name: "nothing of it", text: `{"type": "sync"}`},
		{name: "no list", text: `{"metadata": {"a": 1}}`, bad: true},
		{name: "no object", text: `[1]`, bad: true},
		{name: "cut off in the list", text: `{"metadata": [1, 2`, want: []int{1, 2}, bad: true},
		{name: "cut off after the list", text: `{"metadata": [1]`, want: []int{1}, bad: true},
		{name: "empty", text: ``, bad: true},
	} {
		var got []int
		err := eachOf(json.NewDecoder(strings.NewReader(test.text)), "metadata", func(decoder *json.Decoder) error {
			var n int
			err := decoder.Decode(&n)
			got = append(got, n)
			return err
		})
		if (err != nil) != test.bad {
			t.Errorf("%s: error %v, want one: %v", test.name, err, test.bad)
		}
		if test.bad {
			continue
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
