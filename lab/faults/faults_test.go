package faults

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	breaks Kind = "breaks"
	lags   Kind = "lags"
)

func newSet() *Set {
	return New(Kinds{breaks: "what fits --name breaks", lags: "it takes --for"}, func(f Fault) error {
		if f.Kind == lags && f.For == 0 {
			return errors.New("a lag needs a time")
		}
		return nil
	})
}

func TestTakeCountsWhatFits(t *testing.T) {
	tests := map[string]struct {
		fault Fault
		takes []string
		want  []bool
	}{
		"everything":        {Fault{Kind: breaks}, []string{"a", "", "GET /x/y"}, []bool{true, true, true}},
		"a count":           {Fault{Kind: breaks, Count: 2}, []string{"a", "a", "a"}, []bool{true, true, false}},
		"another kind":      {Fault{Kind: lags, For: time.Second}, []string{"a"}, []bool{false}},
		"a pattern":         {Fault{Kind: breaks, Name: "r-?", Count: 1}, []string{"r-10", "r-1", "r-2"}, []bool{false, true, false}},
		"a star in a path":  {Fault{Kind: breaks, Name: "GET *"}, []string{"GET /servers/1/action", "POST /servers"}, []bool{true, false}},
		"the end of a path": {Fault{Kind: breaks, Name: "*/action"}, []string{"POST /servers/1/action", "POST /servers/1"}, []bool{true, false}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set := newSet()
			if _, err := set.Add(test.fault); err != nil {
				t.Fatal(err)
			}
			hits := 0
			for i, what := range test.takes {
				if got := set.Take(breaks, what) != nil; got != test.want[i] {
					t.Errorf("taking %q gives %v", what, got)
				} else if got {
					hits++
				}
			}
			if all := set.List(); len(all) != 1 || all[0].Hits != hits {
				t.Errorf("after %d hits the list is %+v", hits, all)
			}
		})
	}
}

// serve answers orders on a socket, whose path it returns.
func serve(t *testing.T, set *Set, restart func(context.Context, time.Duration) error) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faults") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: Orders(set, restart, nil), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket
}

func TestControl(t *testing.T) {
	set := newSet()
	var down time.Duration
	control := Dial(serve(t, set, func(_ context.Context, d time.Duration) error {
		down = d
		return nil
	}))
	ctx := t.Context()
	added, err := control.AddFault(ctx, Fault{Kind: breaks, Name: "a", Count: 3, Hits: 9})
	if err != nil || added.ID == 0 || added.Hits != 0 {
		t.Fatalf("added as %+v, %v", added, err)
	}
	if _, err := control.AddFault(ctx, Fault{Kind: lags, For: time.Minute}); err != nil {
		t.Fatal(err)
	}
	for what, fault := range map[string]Fault{
		`unknown kind of fault "odd"`: {Kind: "odd"},
		"what fits --name breaks":     {Kind: ""},
		`bad name pattern "["`:        {Kind: breaks, Name: "["},
		"a lag needs a time":          {Kind: lags},
	} {
		if _, err := control.AddFault(ctx, fault); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%+v: %v, want %q", fault, err, what)
		}
	}
	if all, err := control.Faults(ctx); err != nil || len(all) != 2 || all[0] != added {
		t.Errorf("the list is %+v, %v", all, err)
	}
	if n, err := control.ClearFaults(ctx, string(lags)); n != 1 || err != nil {
		t.Errorf("%d cleared by kind, %v", n, err)
	}
	if n, err := control.ClearFaults(ctx, "1"); n != 1 || err != nil || set.Take(breaks, "a") != nil {
		t.Errorf("%d cleared by ID, %v", n, err)
	}
	if err := control.Restart(ctx, time.Second); err != nil || down != time.Second {
		t.Errorf("restarted after %v, %v", down, err)
	}
	if _, err := Dial(filepath.Join(t.TempDir(), "none")).Faults(ctx); err == nil || !strings.Contains(err.Error(), "cannot reach the emulated cloud") {
		t.Errorf("without a cloud: %v", err)
	}
}
