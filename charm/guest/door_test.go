package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github-runner/lab/pipe"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a runner may leave, read with a real shell.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	binary := "\x00\xff\r\n" + strings.Repeat("x", 300<<10)
	write(t, in("metrics.json"), "{}\n")
	write(t, in("empty"), "")
	write(t, in("-n $(id) 'quoted' \"name\""), "odd")
	write(t, in("binary"), binary)
	write(t, in("full"), "1234")
	write(t, in("diag.log"), "first line\nlast line\n")
	write(t, in("large"), "12345")
	for _, err := range []error{
		os.Mkdir(in("directory"), 0o700), os.Symlink(in("metrics.json"), in("link")), syscall.Mkfifo(in("pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var files []File
	for _, name := range []string{"metrics.json", "missing", "empty", "-n $(id) 'quoted' \"name\"", "directory", "link", "pipe"} {
		files = append(files, File{Path: in(name), Max: 1 << 10})
	}
	files = append(files,
		File{Path: in("binary"), Max: 1 << 20}, File{Path: in("full"), Max: 4}, File{Path: in("diag.log"), Max: 10, End: true}, File{Path: in("large"), Max: 4},
	)
	s := newStage(t)
	got, err := s.Read(t.Context(), s.name, somewhere, files)
	if err == nil || !strings.Contains(err.Error(), "large is too large: it has more than 4 bytes") || strings.Contains(err.Error(), "full") {
		t.Errorf("error %v, want one of the large file alone", err)
	}
	want := map[string][]byte{
		in("metrics.json"): []byte("{}\n"), in("empty"): {}, in("-n $(id) 'quoted' \"name\""): []byte("odd"),
		in("binary"): []byte(binary), in("full"): []byte("1234"), in("diag.log"): []byte("last line\n"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}

func TestReadOfNothing(t *testing.T) {
	s := newStage(t)
	got, err := s.Read(t.Context(), s.name, somewhere, []File{{Path: "/nonexistent/file", Max: 10}})
	if err != nil || len(got) != 0 {
		t.Errorf("read %v, %v", got, err)
	}
}

// The file appears while the guest pauses.
func TestAwait(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pre-job-done")
	if err := os.WriteFile(filepath.Join(dir, "sleep"), []byte("#!/bin/sh\necho \"$1\" >"+path+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s := newStage(t)
	if err := s.Await(t.Context(), s.name, somewhere, path); err != nil {
		t.Error(err)
	}
	if paused, err := os.ReadFile(path); string(paused) != "0.5\n" {
		t.Errorf("it paused for %q, %v", paused, err)
	}
}

func TestAwaitScriptEnds(t *testing.T) {
	command, err := awaitCommand("/nonexistent/file", time.Second/2)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if status := shell(t.Context(), command, &out, io.Discard); status != 0 || out.String() != "no\n" {
		t.Errorf("it ends with %d and %q", status, out.String())
	}
}

// A guest that denies at once is not asked at once again.
func TestAwaitKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		asked := 0
		s.run = func(_ context.Context, _ string, stdout, _ io.Writer) int {
			asked++
			answer := "no\n"
			if asked == 3 {
				answer = "yes\n"
			}
			fmt.Fprint(stdout, answer)
			return 0
		}
		start := time.Now()
		if err := s.Await(t.Context(), s.name, somewhere, "/file"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 2*awaitRound {
			t.Errorf("three questions took %v, want %v", took, 2*awaitRound)
		}

		asked = -1000
		ctx, cancel := context.WithTimeout(t.Context(), 4*awaitRound+time.Second)
		defer cancel()
		if err := s.Await(ctx, s.name, somewhere, "/file"); !errors.Is(err, context.DeadlineExceeded) || asked != -995 {
			t.Errorf("after %d questions Await ends with %v", asked+1000, err)
		}
	})
}

// endless never stops to say something.
func endless(ctx context.Context, _ string, stdout, _ io.Writer) int {
	for ctx.Err() == nil {
		if _, err := stdout.Write(bytes.Repeat([]byte("0 YQ==\n"), 1000)); err != nil {
			return 1
		}
	}
	return 0
}

// Whatever a guest does, Read returns, with an error that says what happened.
func TestHostileGuests(t *testing.T) {
	says := func(answer string, status int) func(context.Context, string, io.Writer, io.Writer) int {
		return func(_ context.Context, _ string, stdout, _ io.Writer) int {
			fmt.Fprint(stdout, answer)
			return status
		}
	}
	other := func(t *testing.T) ssh.Signer {
		key, err := load(t, filepath.Join(t.TempDir(), "secret")).derive(hostLabel)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, s *stage)
		want   string
	}{
		"endless output":  {func(_ *testing.T, s *stage) { s.run = endless }, "sends more than was asked for"},
		"too much":        {func(_ *testing.T, s *stage) { s.run = says("0 "+strings.Repeat("A", 4000)+"\nend\n", 0) }, "makes no sense"},
		"garbage":         {func(_ *testing.T, s *stage) { s.run = says("\x1b[2J\x00", 0) }, "makes no sense"},
		"no answer":       {func(_ *testing.T, s *stage) { s.run = says("", 0) }, "makes no sense"},
		"no shell":        {func(_ *testing.T, s *stage) { s.run = says("end\n", 127) }, "its shell ended with status 127"},
		"other host key":  {func(t *testing.T, s *stage) { s.host = other(t) }, "another host key"},
		"other name":      {func(_ *testing.T, s *stage) { s.name = "runner-2" }, "another host key"},
		"refused key":     {func(t *testing.T, s *stage) { s.authorized = publicKey(other(t).PublicKey()) }, "refuses the unit's key"},
		"long banner":     {func(_ *testing.T, s *stage) { s.banner = func() string { return strings.Repeat("x", 200<<10) } }, ""},
		"keys not loaded": {func(_ *testing.T, s *stage) { s.Keys = Keys{} }, "keys are not loaded"},
		"nobody there": {func(_ *testing.T, s *stage) {
			s.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
		}, "cannot connect to 192.0.2.7 port 22: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			test.change(t, s)
			got, err := s.Read(t.Context(), s.name, somewhere, []File{{Path: "/nonexistent/file", Max: 1000}})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) || len(got) > 0 {
				t.Errorf("read %v, error %v; want one with %q", got, err, test.want)
			}
			if err != nil && len(err.Error()) > 1<<10 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// What is no SSH server at all ends the reading, too, in time.
func TestHostileServers(t *testing.T) {
	for name, test := range map[string]struct {
		serve func(ctx context.Context, conn net.Conn)
		takes time.Duration
		want  string
	}{
		"deaf":           {func(ctx context.Context, _ net.Conn) { <-ctx.Done() }, connectDeadline, "does not answer in time"},
		"silent":         {func(context.Context, net.Conn) {}, connectDeadline, "does not answer in time"},
		"hangs up":       {func(_ context.Context, conn net.Conn) { conn.Close() }, 0, "the SSH connection failed"},
		"garbage banner": {func(_ context.Context, conn net.Conn) { fmt.Fprint(conn, strings.Repeat("\x1b]2;gotcha\a\n", 100)) }, 0, "overflow reading version"},
		"garbage later": {func(_ context.Context, conn net.Conn) {
			fmt.Fprint(conn, "SSH-2.0-x\r\n"+strings.Repeat("\x00", 64<<10))
		}, 0, "the SSH connection failed"},
		"disconnects": {func(_ context.Context, conn net.Conn) {
			reason := ssh.Marshal(struct {
				Reason         uint32 `sshtype:"1"`
				Text, Language string
			}{2, "\x1b[2J" + strings.Repeat("bad ", 5000), ""})
			fmt.Fprintf(conn, "SSH-2.0-x\r\n")
			padding := 8 - (len(reason)+5)%8 + 8
			fmt.Fprintf(conn, "%s%s%s", []byte{0, 0, byte((len(reason) + padding + 1) >> 8), byte(len(reason) + padding + 1), byte(padding)}, reason, make([]byte, padding))
		}, 0, "bad bad"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				s.Dial = func(context.Context, string, string) (net.Conn, error) {
					client, server := pipe.New()
					go func() {
						defer server.Close()
						test.serve(t.Context(), server)
						_, _ = io.Copy(io.Discard, server)
					}()
					return client, nil
				}
				start := time.Now()
				_, err := s.Read(t.Context(), s.name, somewhere, []File{{Path: "/file", Max: 1000}})
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.ContainsAny(err.Error(), "\x1b\a\n") || len(err.Error()) > 1<<10 {
					t.Errorf("error %q, want one with %q", err, test.want)
				}
				if took := time.Since(start); took != test.takes {
					t.Errorf("it took %v, want %v", took, test.takes)
				}
			})
		})
	}
}

// A guest that lets us in and then says nothing is given up.
func TestSilentGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.run = func(ctx context.Context, _ string, _, _ io.Writer) int {
			<-ctx.Done()
			return 0
		}
		start := time.Now()
		_, err := s.Read(t.Context(), s.name, somewhere, []File{{Path: "/file", Max: 1000}})
		if took := time.Since(start); !errors.Is(err, errSilent) || took != connectDeadline+answerDeadline {
			t.Errorf("error %v after %v", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Read(ctx, s.name, somewhere, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline of the caller's: %v", err)
		}
		if err := s.Await(t.Context(), s.name, somewhere, "/file"); !errors.Is(err, errSilent) {
			t.Errorf("Await: %v", err)
		}
	})
}

func TestAddressesThatAreNone(t *testing.T) {
	s := newStage(t)
	for _, address := range []netip.Addr{{}, netip.MustParseAddr("fe80::1%$(id)")} {
		if _, err := s.Read(t.Context(), s.name, address, nil); err == nil || !strings.Contains(err.Error(), "can't be connected to") {
			t.Errorf("Read from %q: %v", address, err)
		}
	}
}
