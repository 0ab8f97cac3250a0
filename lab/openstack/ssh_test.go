package openstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"golang.org/x/crypto/ssh"

	"github-runner/charm/cloudinit"
	door "github-runner/charm/guest"
	"github-runner/lab/faults"
	"github-runner/lab/runnerapp"
)

// The files that a unit reads.
var (
	preJob    = cloudinit.ExchangeDir + "/" + cloudinit.PreJobMetricsFile
	postJob   = cloudinit.ExchangeDir + "/" + cloudinit.PostJobMetricsFile
	diag      = cloudinit.ExchangeDir + "/" + cloudinit.DiagFile
	completed = cloudinit.ExchangeDir + "/" + cloudinit.RunCompletedFile
)

// unitKeys returns the SSH keys of a unit.
func unitKeys(t *testing.T) door.Keys {
	t.Helper()
	keys, err := door.LoadKeys(filepath.Join(t.TempDir(), "guest-secret"))
	must(t, err)
	return keys
}

// withKeys is a machine that a unit with keys can read.
func withKeys(t *testing.T, keys door.Keys) cloudinit.Machine {
	t.Helper()
	private, public, err := keys.HostKey("runner-1")
	must(t, err)
	return cloudinit.Machine{SSH: &cloudinit.SSH{AuthorizedKey: keys.AuthorizedKey(), HostKey: private, HostPublicKey: public}}
}

// admitSSH lets SSH into the servers of the project's default security group.
func (l *life) admitSSH() {
	l.t.Helper()
	pages, err := groups.List(l.all.network, groups.ListOpts{Name: "default"}).AllPages(l.t.Context())
	must(l.t, err)
	found, err := groups.ExtractGroups(pages)
	must(l.t, err)
	_, err = rules.Create(l.t.Context(), l.all.network, rules.CreateOpts{
		SecGroupID: found[0].ID, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP, PortRangeMin: 22, PortRangeMax: 22,
		RemoteIPPrefix: "198.51.100.1/32",
	}).Extract()
	must(l.t, err)
}

// address is the server's.
func (l *life) address() netip.Addr {
	l.t.Helper()
	for _, addresses := range l.get(l.all, l.id).Addresses {
		for _, one := range addresses.([]any) {
			return netip.MustParseAddr(one.(map[string]any)["addr"].(string))
		}
	}
	l.t.Fatal("the server has no address")
	return netip.Addr{}
}

// door is a unit's, with these keys.
func (l *life) door(keys door.Keys) door.Door {
	return door.Door{Keys: keys, Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || port != "22" {
			l.t.Errorf("it dials %s", address)
		}
		return l.DialGuest(ctx, host)
	}}
}

func TestGuestsAreReadBySSH(t *testing.T) {
	keys := unitKeys(t)
	inLife(t, Options{}, withKeys(t, keys), func(l *life) {
		t := l.t
		l.admitSSH()
		address, unit := l.address(), l.door(keys)
		l.session.jobs <- runnerapp.Job{ID: 4, Workflow: "CI"}
		if err := unit.Await(t.Context(), "runner-1", address, cloudinit.ExchangeDir+"/"+cloudinit.PreJobDoneFile); err != nil {
			t.Fatal(err)
		}
		files := []door.File{{Path: preJob, Max: 1 << 10}, {Path: postJob, Max: 1 << 10}, {Path: diag, Max: 10, End: true}, {Path: completed}}
		left, err := unit.Read(t.Context(), "runner-1", address, files)
		must(t, err)
		if len(left) != 2 || !strings.Contains(string(left[preJob]), `"workflow":"CI"`) || string(left[diag]) != "ing job: \n" {
			t.Errorf("at work it has left %q", left)
		}
		_, err = unit.Read(t.Context(), "runner-1", address, []door.File{{Path: preJob, Max: 10}})
		if err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("reading too little of a file: %v", err)
		}
		l.wait(l.session.takes)
		left, err = unit.Read(t.Context(), "runner-1", address, files)
		must(t, err)
		if _, ended := left[completed]; !ended || !strings.Contains(string(left[postJob]), "normal") {
			t.Errorf("after its end it has left %q", left)
		}
		l.wait(stayUp + time.Minute)
		if _, err := unit.Read(t.Context(), "runner-1", address, files); err == nil {
			t.Error("a server without power can be read")
		}
	})
}

// A file that appears while the guest is asked is seen, one that does not is not.
func TestGuestsAreAwaited(t *testing.T) {
	keys := unitKeys(t)
	inLife(t, Options{}, withKeys(t, keys), func(l *life) {
		l.admitSSH()
		unit, address := l.door(keys), l.address()
		ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Minute)
		defer cancel()
		start := time.Now()
		if err := unit.Await(ctx, "runner-1", address, completed); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Minute {
			l.t.Errorf("after %v: %v", time.Since(start), err)
		}
		time.AfterFunc(100*time.Second+time.Millisecond, func() { l.session.jobs <- runnerapp.Job{ID: 4} })
		start = time.Now()
		if err := unit.Await(l.t.Context(), "runner-1", address, preJob); err != nil || time.Since(start) > 101*time.Second {
			l.t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestGuestsThatCannotBeRead(t *testing.T) {
	for name, test := range map[string]struct {
		fault   faults.Fault
		without bool
		closed  bool
		// name and other are what the unit takes the guest for, and whether it is
		// another unit.
		name  string
		other bool
		want  string
		takes time.Duration
	}{
		"refuses":           {fault: faults.Fault{Kind: SSHFails}, want: "connection refused"},
		"hangs":             {fault: faults.Fault{Kind: SSHHangs, Name: "runner-*"}, want: "does not answer in time", takes: 15 * time.Second},
		"boots":             {fault: faults.Fault{Kind: SlowBoot, For: time.Hour}, want: "connection refused"},
		"has no keys":       {without: true, want: "connection refused"},
		"is closed":         {closed: true, want: "does not answer in time", takes: 15 * time.Second},
		"is another's":      {other: true, want: "another host key"},
		"is another runner": {name: "runner-2", want: "another host key"},
	} {
		t.Run(name, func(t *testing.T) {
			keys := unitKeys(t)
			machine := withKeys(t, keys)
			if test.without {
				machine = cloudinit.Machine{}
			}
			var first []faults.Fault
			if test.fault.Kind != "" {
				first = append(first, test.fault)
			}
			inLife(t, Options{}, machine, func(l *life) {
				if !test.closed {
					l.admitSSH()
				}
				if test.other {
					keys = unitKeys(l.t)
				}
				if test.name == "" {
					test.name = "runner-1"
				}
				start := time.Now()
				left, err := l.door(keys).Read(l.t.Context(), test.name, l.address(), []door.File{{Path: diag, Max: 1 << 10}})
				if took := time.Since(start); err == nil || !strings.Contains(err.Error(), test.want) || took != test.takes {
					l.t.Errorf("read %q, error %v after %v, want one with %q after %v", left, err, took, test.want, test.takes)
				}
			}, first...)
		})
	}
}

// login is a client of the guest's SSH server, whoever it may be.
func (l *life) login(user string, signer ssh.Signer) (*ssh.Client, error) {
	conn, err := l.DialGuest(l.t.Context(), l.address().String())
	must(l.t, err)
	client, channels, requests, err := ssh.NewClientConn(conn, "", &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(client, channels, requests), nil
}

func TestGuestsRunTheCommandsOfUnitsAlone(t *testing.T) {
	keys := unitKeys(t)
	machine := withKeys(t, keys)
	// The host key is a key that the test has.
	signer, err := ssh.ParsePrivateKey([]byte(machine.SSH.HostKey.Reveal()))
	must(t, err)
	machine.SSH.AuthorizedKey = machine.SSH.HostPublicKey
	inLife(t, Options{}, machine, func(l *life) {
		t := l.t
		l.admitSSH()
		if _, err := l.login("root", signer); err == nil {
			t.Error("root logs in")
		}
		client, err := l.login(cloudinit.User, signer)
		must(t, err)
		defer client.Close()
		const notFound = 127
		quoted, err := cloudinit.Shell(door.ReadScript)
		must(t, err)
		for command, want := range map[string]uint32{
			"sh -c " + quoted + " 'sh' 'head' '" + diag + "' '9'":            0,
			"sh -c " + quoted + " 'sh'":                                      0,
			"sh -c " + quoted + " 'sh' 'rm' '" + diag + "' '9'":              notFound,
			"sh -c " + quoted + " 'sh' 'head' '" + diag + "' 'many'":         1,
			"sh -c " + quoted + " 'sh' 'head' '" + diag + "'":                notFound,
			"sh -c " + quoted + " 'sh' 'head' '" + diag + "' '9'; reboot":    notFound,
			"sh -c " + quoted + " 'sh' 'head' '" + diag + "' '9' \"$(sleep)": notFound,
			"cat " + diag: notFound,
			"":            notFound,
		} {
			session, err := client.NewSession()
			must(t, err)
			out, err := session.Output(command)
			var exit *ssh.ExitError
			status := uint32(0)
			if errors.As(err, &exit) {
				status, err = uint32(exit.ExitStatus()), nil
			}
			if err != nil || status != want || (status == 0) != (len(out) > 0) {
				t.Errorf("%s ends with %d, %v and prints %q; want status %d", command, status, err, out, want)
			}
		}
		session, err := client.NewSession()
		must(t, err)
		for request, err := range map[string]error{
			"pty": session.RequestPty("xterm", 10, 10, nil), "shell": session.Shell(), "subsystem": session.RequestSubsystem("sftp"),
		} {
			if err == nil {
				t.Errorf("a session has a %s", request)
			}
		}
		if _, err := client.Dial("tcp", "127.0.0.1:22"); err == nil {
			t.Error("a connection is forwarded")
		}
	})
}

// A connection ends with the guest, and there is nobody at an address without a guest.
func TestConnectionsEndWithTheGuest(t *testing.T) {
	keys := unitKeys(t)
	inLife(t, Options{}, withKeys(t, keys), func(l *life) {
		t := l.t
		l.admitSSH()
		address := l.address()
		ended := make(chan error, 1)
		go func() { ended <- l.door(keys).Await(t.Context(), "runner-1", address, completed) }()
		l.wait(time.Second)
		must(t, servers.Delete(t.Context(), l.all.compute, l.id).ExtractErr())
		l.wait(time.Second)
		select {
		case err := <-ended:
			if err == nil {
				t.Error("a guest that is gone has the file")
			}
		default:
			t.Error("the connection outlives the guest")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.DialGuest(ctx, address.String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialing the address of a server that is gone: %v", err)
		}
		if _, err := l.DialGuest(ctx, "runner-1"); err == nil || !strings.Contains(err.Error(), "ParseAddr") {
			t.Errorf("dialing a name: %v", err)
		}
	})
}

func TestGuestSocketSaysWhatIsWrong(t *testing.T) {
	inLife(t, Options{}, cloudinit.Machine{}, func(l *life) {
		l.admitSSH()
		for order, want := range map[string]string{
			l.address().String() + "\n": "dial tcp: " + syscall.ECONNREFUSED.Error() + "\n",
			"203.0.113.9\n":             "cannot connect to a guest: context deadline exceeded\n",
			"x\n":                       "cannot connect to a guest: ParseAddr(\"x\"): unable to parse IP\n",
			strings.Repeat("x", 2<<10):  "",
			"":                          "",
		} {
			client, server := net.Pipe()
			go l.join(server)
			go fmt.Fprint(client, order)
			said, err := io.ReadAll(client)
			if diff := cmp.Diff(want, string(said)); diff != "" || err != nil {
				l.t.Errorf("%q is answered (-want +got) %v:\n%s", order, err, diff)
			}
			client.Close()
		}
	})
}
