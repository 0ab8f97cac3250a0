package lxd

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github-runner/charm/runner"
)

// What LXD leaves of a container that ends while its daemon is away: the instance is
// stopped, its pair of interfaces is on the machine, one of the two on the bridge, and so
// are filters.
func TestRealRemainsThatLXDLeft(t *testing.T) {
	cloud := realCloud(t, nil)
	template, err := cloud.Prepare(t.Context(), runner.Want{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	server, cancel, err := cloud.connect(t.Context(), createDeadline)
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	const left, others, unnamed = "vethtestleft", "vethtestother", "vethtestport"
	pair := func(link string) {
		t.Helper()
		ip(t, "link", "add", link, "type", "veth")
		t.Cleanup(func() { exec.Command("ip", "link", "delete", link).Run() })
	}
	join := func(link string) {
		t.Helper()
		ip(t, "link", "set", link, "master", cloud.config.unitName(), "up")
	}
	isThere := func(link string) bool {
		_, err := os.Lstat(filepath.Join(netFolder, link))
		return err == nil
	}
	stopped := func(link string) string {
		t.Helper()
		name := cloud.config.Owner.NewName()
		config := cloud.metadata(template, runner.Birth{Name: name}, time.Now())
		config[keyLink] = link
		request := emptyInstance(cloud, name, config)
		if err := server.change(http.MethodPost, "/instances", request, ""); err != nil {
			t.Fatal(err)
		}
		return name
	}

	filter := func(instance string) (chains []string) {
		t.Helper()
		for _, hook := range []string{"input", "forward"} {
			chain := hook + "." + instance + ".eth0"
			rules := fmt.Sprintf("add table bridge lxd\ntable bridge lxd { chain %s { type filter hook %s priority filter; policy accept; iifname nobody drop; }; }", chain, hook)
			if _, err := nft(t.Context(), rules); err != nil {
				t.Fatal(err)
			}
			chains = append(chains, chain)
			t.Cleanup(func() { nft(context.Background(), "delete chain bridge lxd "+chain) })
		}
		return chains
	}
	filters := func(chains []string) (found int) {
		t.Helper()
		table, err := nft(t.Context(), "list table bridge lxd")
		if err != nil {
			t.Fatal(err)
		}
		for _, chain := range chains {
			found += strings.Count(table, "chain "+chain+" {")
		}
		return found
	}

	pair(left)
	join(left)
	pair(others)
	strangers, former := filter("somebodys"), filter(cloud.config.Owner.NewName())
	gone := map[string][]string{}
	for _, link := range []string{left, others, "no-such-link"} {
		name := stopped(link)
		gone[link] = filter(name)
		if err := cloud.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if filters(gone[left]) != 0 {
		t.Error("the filters of a runner that was deleted are still there")
	}
	if filters(former) != 2 {
		t.Error("filters of another runner were removed")
	}
	if isThere(left) {
		t.Error("the interfaces of a runner that was deleted are still there")
	}
	if !isThere(others) {
		t.Error("an interface that is not on the bridge was removed")
	}

	pair(unnamed)
	join(unnamed)
	if err := cloud.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if isThere(unnamed) {
		t.Error("what was on the bridge outlived it")
	}
	if filters(former) != 0 {
		t.Error("the filters of a runner outlived its unit")
	}
	if filters(strangers) != 2 {
		t.Error("the filters of another unit's runner were removed")
	}
}
