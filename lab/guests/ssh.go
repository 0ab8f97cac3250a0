package guests

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"github-runner/charm/cloudinit"
	"github-runner/charm/guest"
	"github-runner/lab/clock"
)

// SSHServer is the SSH server of a machine. It runs the commands of charm/guest, which
// it knows, and no other.
type SSHServer struct {
	config *ssh.ServerConfig
	// look returns a file of the machine.
	look func(path string) (content string, there bool)
}

// NewSSHServer returns the server that a #cloud-config document gives a machine; nil
// where it gives it no host key.
func NewSSHServer(userData string, look func(path string) (content string, there bool)) *SSHServer {
	var document struct {
		Modules []string `yaml:"cloud_init_modules"`
		User    struct {
			Name string `yaml:"name"`
		} `yaml:"user"`
		HostKeys struct {
			Private string `yaml:"ed25519_private"`
		} `yaml:"ssh_keys"`
		Authorized []string `yaml:"ssh_authorized_keys"`
	}
	if !strings.HasPrefix(userData, "#cloud-config") || yaml.Unmarshal([]byte(userData), &document) != nil || !slices.Contains(document.Modules, "ssh") {
		return nil
	}
	host, err := ssh.ParsePrivateKey([]byte(document.HostKeys.Private))
	if err != nil {
		return nil
	}
	allowed := map[string]bool{}
	for _, line := range document.Authorized {
		if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
			allowed[string(key.Marshal())] = true
		}
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(who ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if who.User() != document.User.Name || !allowed[string(key.Marshal())] {
			return nil, errors.New("permission denied")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	return &SSHServer{config: config, look: look}
}

// Serve serves one connection until the client ends it, or ctx ends.
func (s *SSHServer) Serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	client, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return // the client has been told
	}
	defer client.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "only sessions are here")
			continue
		}
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		go s.session(ctx, channel, requests)
	}
}

// session is a session with one command. Answers that the client does not wait for are
// lost.
func (s *SSHServer) session(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running := false
	for request := range requests {
		var order struct{ Command string }
		understood := !running && request.Type == "exec" && ssh.Unmarshal(request.Payload, &order) == nil
		_ = request.Reply(understood, nil)
		if !understood {
			continue
		}
		running = true
		go func() {
			defer channel.Close()
			status := s.run(ctx, order.Command, channel, channel.Stderr())
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		}()
	}
}

// notFound is the exit status of a shell that does not know a command.
const notFound = 127

// run runs a command and returns its exit status.
func (s *SSHServer) run(ctx context.Context, command string, stdout, stderr io.Writer) (status uint32) {
	if arguments, ok := argumentsOf(guest.ReadScript, command); ok && len(arguments)%3 == 0 {
		return s.read(arguments, stdout)
	}
	if arguments, ok := argumentsOf(guest.AwaitScript, command); ok && len(arguments) == 2 {
		return s.await(ctx, arguments, stdout)
	}
	_, _ = io.WriteString(stderr, "this emulated machine runs no such command\n")
	return notFound
}

// quotedWord is a word at the beginning of a command, as cloudinit.Shell quotes it.
var quotedWord = regexp.MustCompile(`^ '((?:[^']|'\\'')*)'`)

// argumentsOf returns what a script gets from a command that runs it; ok is false for
// any other command.
func argumentsOf(script, command string) (arguments []string, ok bool) {
	quoted, err := cloudinit.Shell(script)
	if err != nil {
		return nil, false
	}
	rest, ok := strings.CutPrefix(command, "sh -c "+quoted+" 'sh'")
	for ok && rest != "" {
		word := quotedWord.FindStringSubmatch(rest)
		if word == nil {
			return nil, false
		}
		arguments = append(arguments, strings.ReplaceAll(word[1], `'\''`, "'"))
		rest = rest[len(word[0]):]
	}
	return arguments, ok
}

// read is what guest.ReadScript does.
func (s *SSHServer) read(arguments []string, stdout io.Writer) (status uint32) {
	var printed strings.Builder
	for i := 0; i < len(arguments); i += 3 {
		content, there := s.look(arguments[i+1])
		size, err := strconv.Atoi(arguments[i+2])
		if err != nil || size < 0 {
			return 1
		}
		if !there {
			continue
		}
		switch arguments[i] {
		case guest.Head:
			content = content[:min(size, len(content))]
		case guest.Tail:
			content = content[max(0, len(content)-size):]
		default:
			return notFound
		}
		fmt.Fprintf(&printed, "%d %s\n", i/3, base64.StdEncoding.EncodeToString([]byte(content)))
	}
	printed.WriteString("end\n")
	_, _ = io.WriteString(stdout, printed.String())
	return 0
}

// await is what guest.AwaitScript does.
func (s *SSHServer) await(ctx context.Context, arguments []string, stdout io.Writer) (status uint32) {
	halfSeconds, err := strconv.Atoi(arguments[1])
	if err != nil {
		return 1
	}
	answer := "yes\n"
	for {
		if _, there := s.look(arguments[0]); there {
			break
		}
		if halfSeconds <= 0 {
			answer = "no\n"
			break
		}
		halfSeconds--
		if clock.Pause(ctx, time.Second/2) != nil {
			return Killed
		}
	}
	_, _ = io.WriteString(stdout, answer)
	return 0
}
