package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestKernelSettingsComeBackWithTheLastLab(t *testing.T) {
	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	low := kernelSetting{filepath.Join(dir, "low"), 100}
	high := kernelSetting{filepath.Join(dir, "high"), 100}
	settings := []kernelSetting{low, high}
	for s, value := range map[kernelSetting]int{low: 7, high: 4000} {
		if err := s.set(value); err != nil {
			t.Fatal(err)
		}
	}
	assert := func(when string, wantLow, wantHigh int) {
		t.Helper()
		for s, want := range map[kernelSetting]int{low: wantLow, high: wantHigh} {
			if got, err := s.value(); got != want || err != nil {
				t.Errorf("%s: %s is %d, error %v; want %d", when, filepath.Base(s.path), got, err, want)
			}
		}
	}

	// The second lab must not take what the first one set for the machine's own.
	for _, when := range []string{"first lab", "second lab"} {
		if err := raise(settings, record); err != nil {
			t.Fatal(err)
		}
		assert(when, 100, 4000)
	}
	restored, err := restore(settings, record)
	if err != nil || len(restored) != 1 {
		t.Errorf("restored %q, error %v; want one setting", restored, err)
	}
	assert("afterwards", 7, 4000)
	if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
	if restored, err := restore(settings, record); err != nil || len(restored) > 0 {
		t.Errorf("without a record: restored %q, error %v", restored, err)
	}
}

func TestKernelSettingsWithABrokenRecord(t *testing.T) {
	dir := t.TempDir()
	record := filepath.Join(dir, "record")
	s := kernelSetting{filepath.Join(dir, "setting"), 100}
	if err := s.set(100); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(record, []byte(`{"x":`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := restore([]kernelSetting{s}, record); err == nil {
		t.Error("a broken record is no error")
	}
}
