package lxd

import (
	"path/filepath"
	"testing"

	"github-runner/charm/runner"
)

func testConfig(t *testing.T) Config {
	return Config{
		Owner:        runner.Owner{ModelUUID: "model", Unit: "tests/0"},
		ExchangeDir:  filepath.Join(t.TempDir(), "exchange"),
		ImageAlias:   "noble",
		InstanceType: Container,
		CPU:          1,
		Memory:       1 << 30,
		Disk:         5 << 30,
		StorageKind:  JujuStorage,
	}
}
