package charm

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A handler without its link is never run, and a link without its handler fails.
func TestLinksAreTheHandlers(t *testing.T) {
	for folder, handlers := range map[string]map[string]handler{"hooks": hooks(), "actions": actions()} {
		entries, err := os.ReadDir(filepath.Join("..", folder))
		if err != nil {
			t.Fatal(err)
		}
		var links []string
		for _, entry := range entries {
			links = append(links, entry.Name())
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(handlers)), links); diff != "" {
			t.Errorf("%s/ is not the table of handlers (-handlers +links):\n%s", folder, diff)
		}
	}
}
