package allinone

import (
	"context"
	"path/filepath"
)

// sqlSocket is where MariaDB answers, in this mount namespace alone; it has no port.
const sqlSocket = runFolder + "/sql.sock"

// startBelow starts what the services stand on. Nothing has to survive the stack, so
// nothing waits for a disk.
func (s *Stack) startBelow(ctx context.Context) error {
	data := filepath.Join(s.State, "sql")
	if err := s.do(ctx, "mariadb-install", "mariadb-install-db", "--no-defaults", "--user=root", "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db"); err != nil {
		return err
	}
	for _, d := range []daemon{
		{name: "mariadb", argv: []string{
			"mariadbd", "--no-defaults", "--user=root", "--datadir=" + data, "--socket=" + sqlSocket,
			"--pid-file=" + runFolder + "/sql.pid", "--skip-networking", "--skip-log-bin",
			"--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0",
			"--innodb-buffer-pool-size=128M", "--performance-schema=0", "--max-connections=500", "--character-set-server=utf8mb3",
		}},
		{name: "memcached", argv: []string{"memcached", "-u", "root", "-l", "127.0.0.1", "-m", "32"}},
		// RabbitMQ starts one by itself otherwise, which listens everywhere.
		{name: "epmd", argv: []string{"epmd"}, env: []string{"ERL_EPMD_ADDRESS=127.0.0.1"}},
		s.rabbit(),
	} {
		if err := s.start(d); err != nil {
			return err
		}
	}
	return together(ctx,
		func(ctx context.Context) error { return s.await(ctx, "MariaDB", listens("unix", sqlSocket)) },
		func(ctx context.Context) error { return s.await(ctx, "RabbitMQ", listens("tcp", "127.0.0.1:5672")) },
	)
}

// rabbit is RabbitMQ without its wrapper, which asks for a user of its own.
func (s *Stack) rabbit() daemon {
	folder := filepath.Join(s.State, "rabbit")
	return daemon{name: "rabbitmq", argv: []string{"/usr/lib/rabbitmq/bin/rabbitmq-server"}, env: []string{
		"HOME=" + folder, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=lab@localhost", "RABBITMQ_MNESIA_BASE=" + folder, "RABBITMQ_LOG_BASE=" + folder,
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(s.State, "etc", "rabbitmq"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(folder, "plugins"),
		"RABBITMQ_DIST_PORT=25672",
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
	}}
}
