package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github-runner/charm/cloudinit"
)

// Deadlines of what is asked of a guest.
const (
	connectDeadline = 15 * time.Second
	answerDeadline  = 15 * time.Second
	// awaitRound is how long a guest looks for a file before it is asked anew.
	awaitRound = 30 * time.Second
)

// Port is where the SSH servers of guests are.
const Port = 22

// overhead is how many bytes a guest may send beside twice its answer: that is many
// times what an SSH server says while it connects.
const overhead = 256 << 10

// Door is the way into the guests of a unit. It may be used by several goroutines.
type Door struct {
	Keys Keys
	// ProxyCommand makes the connections, as OpenSSH's option of that name; ""
	// makes them directly.
	ProxyCommand string
	// Dial makes the direct connections; nil: as the machine does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Read returns the content of files in the guest with a name, by path. Those that are
// no regular files, or are not there, are absent. Those that are larger than they may
// be are absent, too, and in the error, with which the others are good all the same.
// It returns within half a minute.
func (d Door) Read(ctx context.Context, name string, address netip.Addr, files []File) (map[string][]byte, error) {
	command, err := readCommand(files)
	if err != nil {
		return nil, fmt.Errorf("cannot read what %s left: %w", name, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectDeadline+answerDeadline, errSilent)
	defer cancel()
	answer, err := d.ask(ctx, name, address, command, maxAnswer(files))
	if err != nil {
		return nil, fmt.Errorf("cannot read what %s left: %w", name, err)
	}
	found, err := parse(answer, files)
	if err != nil {
		return found, fmt.Errorf("cannot read all that %s left: %w", name, err)
	}
	return found, nil
}

// Await returns nil once there is something at a path in the guest with a name. Other
// than by the end of ctx it ends when the guest can't be asked.
func (d Door) Await(ctx context.Context, name string, address netip.Addr, path string) error {
	command, err := awaitCommand(path, awaitRound)
	for there := false; err == nil && !there; {
		there, err = d.awaitRound(ctx, name, address, command)
	}
	if err != nil {
		return fmt.Errorf("cannot wait for %s in %s: %w", path, name, err)
	}
	return nil
}

// awaitRound asks a guest once, and returns when it has the file or the round is over:
// one that denies at once is asked no more often than one that looks.
func (d Door) awaitRound(ctx context.Context, name string, address netip.Addr, command string) (there bool, err error) {
	round := time.NewTimer(awaitRound)
	defer round.Stop()
	asking, cancel := context.WithTimeoutCause(ctx, connectDeadline+awaitRound+answerDeadline, errSilent)
	defer cancel()
	answer, err := d.ask(asking, name, address, command, int64(len("yes\n")))
	if err != nil {
		return false, err
	}
	switch string(answer) {
	case "yes\n":
		return true, nil
	case "no\n":
	default:
		return false, errGarbage
	}
	select {
	case <-round.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// errSilent ends what a guest does not answer.
var errSilent = errors.New("it does not answer in time")

// ask runs a command in a guest and returns what it prints. A guest that sends much
// more than that may be, or no answer until ctx ends, is cut off.
func (d Door) ask(ctx context.Context, name string, address netip.Addr, command string, most int64) ([]byte, error) {
	_, host, err := d.Keys.HostKey(name)
	if err != nil {
		return nil, err
	}
	own, err := d.Keys.derive(clientLabel)
	if err != nil {
		return nil, err
	}
	opening, opened := context.WithTimeoutCause(ctx, connectDeadline, errSilent)
	defer opened()
	conn, err := d.connect(opening, address)
	if err != nil {
		return nil, err
	}
	l := &line{Conn: conn, left: overhead + 2*most}
	defer l.Close()
	// A deadline on the connection would not do: not all have them.
	defer context.AfterFunc(ctx, l.hangUp)()
	stop := context.AfterFunc(opening, l.hangUp)
	client, err := l.login(own, host, net.JoinHostPort(address.String(), strconv.Itoa(Port)))
	if err != nil {
		return nil, l.explain(opening, err)
	}
	defer client.Close()
	stop()
	answer, err := run(client, command)
	if err != nil {
		return nil, l.explain(ctx, err)
	}
	return answer, nil
}

// connect makes a connection to the SSH server of a guest.
func (d Door) connect(ctx context.Context, address netip.Addr) (net.Conn, error) {
	if !address.IsValid() || address.Zone() != "" {
		return nil, fmt.Errorf("its address %q can't be connected to", address)
	}
	if d.ProxyCommand != "" {
		return startProxy(d.ProxyCommand, address)
	}
	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(address.String(), strconv.Itoa(Port)))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s port %d: %w; where the unit's machine can't reach runners, manager-ssh-proxy-command helps", address, Port, err)
	}
	return conn, nil
}

// run runs a command.
func run(client *ssh.Client, command string) ([]byte, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	defer session.Close()
	return session.Output(command)
}

// login makes an SSH client of a line to a guest that has a host key.
func (l *line) login(own ssh.Signer, host, address string) (*ssh.Client, error) {
	config := &ssh.ClientConfig{
		User:              cloudinit.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(own)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
		HostKeyCallback: func(_ string, _ net.Addr, shown ssh.PublicKey) error {
			if publicKey(shown) != host {
				return errOtherHost
			}
			return nil
		},
	}
	conn, channels, requests, err := ssh.NewClientConn(l, address, config)
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// The errors of a guest that is not what it was made as.
var (
	errOtherHost = errors.New("its SSH server shows another host key than the machine was given: another machine has its address, or a job has changed it")
	errRefused   = errors.New("its SSH server refuses the unit's key: the image lacks cloud-init or its module ssh, or a job has changed the machine")
	errTooMuch   = errors.New("its SSH server sends more than was asked for, and was cut off")
)

// refusal is in the error of x/crypto/ssh, which has no type, where no key is taken.
const refusal = "unable to authenticate"

// explain says what an error on a line means, for a person to act on.
func (l *line) explain(ctx context.Context, err error) error {
	p, proxied := l.Conn.(*proxy)
	var exit *ssh.ExitError
	switch {
	case l.cutOff.Load():
		err = errTooMuch
	case errors.Is(err, errOtherHost):
		err = errOtherHost
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case strings.Contains(err.Error(), refusal):
		err = errRefused
	case errors.As(err, &exit):
		err = fmt.Errorf("its shell ended with status %d: %w", exit.ExitStatus(), errGarbage)
	case proxied:
		err = p.explain(err)
	default:
		// The other side may say anything.
		err = fmt.Errorf("the SSH connection failed: %s", oneLine(err.Error()))
	}
	if proxied {
		return p.quote(err)
	}
	return err
}
