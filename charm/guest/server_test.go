package guest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"github-runner/lab/pipe"
)

// somewhere is the address of the tests' guest.
var somewhere = netip.MustParseAddr("192.0.2.7")

// stage is an SSH server that is a guest's, and the door to it.
type stage struct {
	Door
	// name is the guest's.
	name string
	// host is the key that the server shows, who is let in.
	host       ssh.Signer
	authorized string
	// run runs a command; it returns its exit status.
	run func(ctx context.Context, command string, stdout, stderr io.Writer) int
	// banner is sent to who logs in.
	banner func() string
}

// newStage returns the stage of an honest guest, whose shell is this machine's.
func newStage(t *testing.T) *stage {
	t.Helper()
	keys := load(t, filepath.Join(t.TempDir(), "guest-secret"))
	private, _ := hostKey(t, keys, "runner-1")
	host, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Door: Door{Keys: keys}, name: "runner-1", host: host, authorized: keys.AuthorizedKey(), run: shell}
	s.Dial = s.dial
	return s
}

// shell runs a command as sshd does.
func shell(ctx context.Context, command string, stdout, stderr io.Writer) int {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	var failed *exec.ExitError
	if err := cmd.Run(); errors.As(err, &failed) {
		return failed.ExitCode()
	}
	return 0
}

// dial connects to the guest in memory.
func (s *stage) dial(context.Context, string, string) (net.Conn, error) {
	client, server := pipe.New()
	go s.serve(server)
	return client, nil
}

// listen serves on a port of this machine, for who can't dial.
func (s *stage) listen(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return listener.Addr().String()
}

// serve serves one connection.
func (s *stage) serve(conn net.Conn) {
	defer conn.Close()
	config := &ssh.ServerConfig{PublicKeyCallback: func(meta ssh.ConnMetadata, shown ssh.PublicKey) (*ssh.Permissions, error) {
		if meta.User() != "ubuntu" || publicKey(shown) != s.authorized {
			return nil, errors.New("no such key")
		}
		return nil, nil
	}}
	if s.banner != nil {
		config.BannerCallback = func(ssh.ConnMetadata) string { return s.banner() }
	}
	config.AddHostKey(s.host)
	client, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer client.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go s.session(channel, requests)
	}
}

// session serves one session, which has one command.
func (s *stage) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for request := range requests {
		var exec struct{ Command string }
		if request.Type != "exec" || ssh.Unmarshal(request.Payload, &exec) != nil {
			_ = request.Reply(false, nil)
			continue
		}
		_ = request.Reply(true, nil)
		go func() {
			for range requests {
			}
			cancel() // the other side has gone
		}()
		status := s.run(ctx, exec.Command, channel, channel.Stderr())
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{uint32(status)}))
		_ = channel.Close()
		<-ctx.Done()
		return
	}
}
