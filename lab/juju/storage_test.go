package juju

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github-runner/lab/skip"
)

// attachable notes what its hooks about storage find; the detaching one fails while
// the file refuse is there.
var attachable = probe{
	"metadata.yaml":                peerMetadata,
	"hooks/data-storage-attached":  `ls -A "$JUJU_STORAGE_LOCATION" > $OUT/attached; df --output=size -BM "$JUJU_STORAGE_LOCATION" | tail -1 >> $OUT/attached; storage-list data --format=json >> $OUT/attached` + "\n",
	"hooks/data-storage-detaching": `[ -e $OUT/refuse ] && exit 1; touch "$JUJU_STORAGE_LOCATION/kept"; storage-list data --format=json > $OUT/detaching; goal-state --format=json >> $OUT/detaching` + "\n",
}

func TestStorage(t *testing.T) {
	l := newLab(t)
	l.pack("a.charm", probe{
		"metadata.yaml":               peerMetadata,
		"hooks/data-storage-attached": `echo "$JUJU_STORAGE_ID $JUJU_STORAGE_KIND" > $OUT/storage; storage-list data --format=json >> $OUT/storage; storage-list no --format=json >> $OUT/storage; [ "$(storage-get -s data/0 location)" = "$JUJU_STORAGE_LOCATION" ] && [ -d "$JUJU_STORAGE_LOCATION" ] && echo same >> $OUT/storage` + "\n",
	})
	l.juju("deploy", "./a.charm", "without")
	l.wantNotes("storage", "")
	l.juju("deploy", "./a.charm", "with", "--storage", "data=lab,10M")
	l.wantNotes("storage", "data/0 filesystem\n[\"data/0\"]\n[]\nsame\n")
	l.juju("remove-application", "with")
}

// storageLab has one unit with a storage; what is mounted goes at the end.
func storageLab(t *testing.T, directive string) (l *lab, location string) {
	l = newLab(t)
	l.pack("a.charm", attachable)
	l.juju("deploy", "./a.charm", "probe", "--storage", directive)
	location = filepath.Join(l.dir, "juju", "models", "lab", "storage", "data-0")
	t.Cleanup(func() { unix.Unmount(location, unix.MNT_DETACH) })
	return l, location
}

// wantIn fails unless the parts are in an output, in this order.
func (l *lab) wantIn(output string, parts ...string) {
	l.Helper()
	rest := output
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			l.Errorf("%q is not, or not in order, in\n%s", part, output)
			return
		}
		rest = after
	}
}

func TestStorageComesAndGoes(t *testing.T) {
	for _, directive := range []string{"data", "data=20M"} {
		l, location := storageLab(t, directive)
		l.wantIn(l.juju("storage"), "probe/0  data/0", "attached")
		l.refused("is attached to unit probe/0", "attach-storage", "probe/0", "data/0")
		l.refused("attached to unit probe/0: detach it first", "remove-storage", "data/0")
		l.refused("cannot exceed maximum", "add-storage", "probe/0", "data=1G")

		if err := os.WriteFile(filepath.Join(l.charms, "refuse"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		l.juju("detach-storage", "data/0")
		l.wantIn(l.juju("status"), `hook failed: "data-storage-detaching"`)
		l.wantIn(l.juju("storage"), "detaching")
		if _, err := os.Stat(location); err != nil {
			t.Errorf("a storage is taken away before its hook has succeeded: %v", err)
		}
		if err := os.Remove(filepath.Join(l.charms, "refuse")); err != nil {
			t.Fatal(err)
		}
		l.juju("resolved", "probe/0")
		l.wantIn(l.juju("storage"), "data/0", "detached")
		l.wantIn(l.notes("detaching"), `["data/0"]`, `"probe/0"`)
		if strings.Contains(l.notes("detaching"), "dying") {
			t.Errorf("a unit that stays is dying: %s", l.notes("detaching"))
		}
		if _, err := os.Stat(location); err == nil {
			t.Error("a detached storage is still to be seen")
		}
		l.refused("is not attached", "detach-storage", "data/0")

		l.juju("attach-storage", "probe/0", "data/0")
		l.wantIn(l.notes("attached"), "kept", `["data/0"]`)
		l.juju("remove-unit", "probe/0")
		l.wantIn(l.notes("detaching"), "dying")
		if left, err := filepath.Glob(filepath.Dir(location) + "/*"); err != nil || len(left) > 0 {
			t.Errorf("of the storage is left: %v, %v", left, err)
		}
	}
}

func TestDetachedStorageCanBeRemoved(t *testing.T) {
	l, location := storageLab(t, "data=20M")
	l.juju("detach-storage", "data/0")
	l.juju("remove-storage", "data/0")
	l.refused(`storage "data/0" not found`, "attach-storage", "probe/0", "data/0")
	if left, err := filepath.Glob(location + "*"); err != nil || len(left) > 0 {
		t.Errorf("of the storage is left: %v, %v", left, err)
	}
	l.juju("add-storage", "probe/0", "data")
	l.wantIn(l.juju("storage"), "data/1")
}

func TestStorageHasItsSize(t *testing.T) {
	if err := canMount(); err != nil {
		skip.Because(t, "%v", err)
	}
	l, location := storageLab(t, "data=20M")
	var found unix.Statfs_t
	if err := unix.Statfs(location, &found); err != nil {
		t.Fatal(err)
	}
	if size := int64(found.Blocks) * found.Bsize; size < 10<<20 || size > 20<<20 {
		t.Errorf("a storage of 20M has %d bytes", size)
	}
	l.juju("remove-application", "probe")
	if _, err := os.Stat(location); err == nil {
		t.Error("the storage stays")
	}
}

func TestSizesOfStorage(t *testing.T) {
	for text, want := range map[string]int64{"100M": 100 << 20, "1G": 1 << 30, "1.5G": 3 << 29, "2GiB": 2 << 30, "1TB": 1 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "G", "-1G", "1K", "1 G", "9000000Y"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestSizesAreShownAsJujuDoes(t *testing.T) {
	for size, want := range map[int64]string{
		100 << 20: "100 MiB", 1 << 30: "1.0 GiB", 3 << 29: "1.5 GiB", 20 << 30: "20 GiB", 100 << 30: "100 GiB", 2 << 40: "2.0 TiB",
	} {
		if got := mebibytes(size); got != want {
			t.Errorf("%d bytes are shown as %q, want %q", size, got, want)
		}
	}
}
