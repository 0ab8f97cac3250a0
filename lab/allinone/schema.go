package allinone

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// databases are those of the services.
var databases = []string{"keystone", "placement", "glance", "nova_api", "nova_cell0", "nova_cell1", "neutron"}

// sql runs statements in MariaDB, without a database chosen.
func (s *Stack) sql(ctx context.Context, statements string) error {
	return s.do(ctx, "sql", "mariadb", "--no-defaults", "--user=root", "--socket="+sqlSocket, "--execute="+statements)
}

// makeSchemas makes the databases and what the services have in them at first, or
// takes them from the cache: it is the longest step. Nothing in them tells one stack
// from another, since what is in the mount namespace has the same paths in each.
func (s *Stack) makeSchemas(ctx context.Context) error {
	if err := s.makeKeys(ctx); err != nil {
		return err
	}
	kept, err := s.keptSchemas(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(kept); err == nil {
		return s.sql(ctx, "source "+kept)
	}
	if err := s.newSchemas(ctx); err != nil {
		return err
	}
	// Another stack may do the same, so that none must see half a file.
	half := filepath.Join(s.State, "schemas.sql")
	if err := s.do(ctx, "sql", slices.Concat([]string{"mariadb-dump", "--no-defaults", "--user=root", "--socket=" + sqlSocket, "--result-file=" + half, "--databases"}, databases)...); err != nil {
		return err
	}
	return moveFile(half, kept)
}

// keptSchemas is where schemas are kept that these versions of the services made.
func (s *Stack) keptSchemas(ctx context.Context) (string, error) {
	versions, err := exec.CommandContext(ctx, "dpkg-query", "--show",
		"keystone", "placement-common", "glance-common", "nova-common", "neutron-common", "mariadb-server-core").Output()
	if err != nil {
		return "", fmt.Errorf("cannot tell the versions of the services: %w", err)
	}
	sum := sha256.Sum256(versions)
	return filepath.Join(s.Cache, "openstack-"+hex.EncodeToString(sum[:])[:16]+".sql"), nil
}

// moveFile puts a file in another's place, which may be on another file system.
func moveFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	var next *os.File
	if err == nil {
		next, err = os.CreateTemp(filepath.Dir(to), "build-")
	}
	if err != nil {
		return fmt.Errorf("cannot keep the schemas: %w", err)
	}
	_, err = next.Write(content)
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), to)
	}
	if err != nil {
		return fmt.Errorf("cannot keep the schemas: %w", errors.Join(err, os.Remove(next.Name())))
	}
	return nil
}

// makeKeys makes the keys that Keystone encrypts with.
func (s *Stack) makeKeys(ctx context.Context) error {
	var commands [][]string
	for _, setup := range []string{"fernet_setup", "credential_setup"} {
		commands = append(commands, []string{
			"keystone-manage", "--config-file", s.path("keystone.conf"), setup, "--keystone-user", "root", "--keystone-group", "root",
		})
	}
	return s.doAll(ctx, "schema", commands)
}

// newSchemas makes them by the services' own programs: Neutron's and the others' at
// the same time.
func (s *Stack) newSchemas(ctx context.Context) error {
	var create strings.Builder
	for _, name := range databases {
		create.WriteString("create database " + name + " character set utf8mb3;")
	}
	if err := s.sql(ctx, create.String()); err != nil {
		return err
	}
	neutron := [][]string{{"neutron-db-manage", "--config-file", s.path("neutron.conf"), "upgrade", "heads"}}
	nova := []string{"nova-manage", "--config-file", s.path("nova.conf")}
	others := [][]string{
		{"keystone-manage", "--config-file", s.path("keystone.conf"), "db_sync"},
		slices.Concat(nova, []string{"api_db", "sync"}),
		slices.Concat(nova, []string{"cell_v2", "map_cell0", "--database_connection", s.database("nova_cell0")}),
		slices.Concat(nova, []string{"cell_v2", "create_cell", "--name", "cell1"}),
		slices.Concat(nova, []string{"db", "sync"}),
		{"env", "OS_PLACEMENT_CONFIG_DIR=" + s.path(""), "placement-manage", "--config-file", s.path("placement.conf"), "db", "sync"},
		{"glance-manage", "--config-file", s.path("glance-api.conf"), "db_sync"},
	}
	return together(ctx,
		func(ctx context.Context) error { return s.doAll(ctx, "schema-neutron", neutron) },
		func(ctx context.Context) error { return s.doAll(ctx, "schema", others) },
	)
}

func (s *Stack) doAll(ctx context.Context, name string, commands [][]string) error {
	for _, argv := range commands {
		if err := s.do(ctx, name, argv...); err != nil {
			return err
		}
	}
	return nil
}

// agentRow says that an agent of Neutron's is alive for ever, so that ports of
// servers on the host are bound though none runs.
const agentRow = `insert into neutron.agents
 (id, agent_type, ` + "`binary`" + `, topic, host, admin_state_up, created_at, started_at, heartbeat_timestamp, configurations, ` + "`load`" + `, resources_synced)
 values (uuid(), 'Linux bridge agent', 'neutron-linuxbridge-agent', 'N/A', '` + host + `', 1, now(), now(), '2099-01-01',
 '{"interface_mappings": {"` + physical + `": "none"}, "devices": 0}', 0, 1)`
