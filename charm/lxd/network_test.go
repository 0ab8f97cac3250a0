package lxd

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func prefixes(texts ...string) []netip.Prefix {
	var result []netip.Prefix
	for _, text := range texts {
		result = append(result, netip.MustParsePrefix(text))
	}
	return result
}

var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

func TestFreeSubnet(t *testing.T) {
	for name, test := range map[string]struct {
		taken  []netip.Prefix
		inside string
	}{
		"nothing taken":             {nil, "10.0.0.0/8"},
		"a route to all of 10":      {prefixes("10.0.0.0/8"), "172.16.0.0/12"},
		"only the last range":       {prefixes("10.0.0.0/8", "172.16.0.0/12"), "192.168.0.0/16"},
		"all but one quarter":       {prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/17", "192.168.128.0/18", "192.168.192.0/19"), "192.168.224.0/19"},
		"addresses with host bits":  {prefixes("10.1.2.3/8"), "172.16.0.0/12"},
		"a route around everything": {prefixes("10.0.0.0/9", "10.128.0.0/9"), "172.16.0.0/12"},
	} {
		gateway, ok := freeSubnet(test.taken, "ghr-01234567")
		if !ok {
			t.Errorf("%s: nothing is free", name)
			continue
		}
		if !netip.MustParsePrefix(test.inside).Contains(gateway.Addr()) || overlapsAny(gateway, test.taken) {
			t.Errorf("%s: %s", name, gateway)
		}
		if gateway.Addr() != gateway.Masked().Addr().Next() {
			t.Errorf("%s: %s is not the first address of its subnet", name, gateway)
		}
	}
}

func TestFreeSubnetWhereNoneIs(t *testing.T) {
	for _, taken := range [][]netip.Prefix{prefixes("0.0.0.0/1", "128.0.0.0/1"), prefixes(privateRanges[:]...)} {
		if gateway, ok := freeSubnet(taken, "x"); ok {
			t.Errorf("%s is said to be free beside %v", gateway, taken)
		}
	}
}

func TestUnitsLookInDifferentPlaces(t *testing.T) {
	first, _ := freeSubnet(nil, "ghr-00000000")
	second, _ := freeSubnet(nil, "ghr-00000001")
	if first == second {
		t.Errorf("two units begin with the same subnet %s", first)
	}
}

func TestRoutes(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n" +
		"torn\tline\n\n"
	if diff := cmp.Diff(prefixes("192.0.2.0/24", "10.0.0.0/8"), routes(table), comparePrefixes); diff != "" {
		t.Error(diff)
	}
}

func TestUnitNameFitsAnInterface(t *testing.T) {
	config := testConfig(t)
	name := config.unitName()
	if len(name) > 15 || !strings.HasPrefix(name, "ghr-") {
		t.Errorf("bridge %q", name)
	}
	config.Owner.ModelUUID = "another"
	if config.unitName() == name {
		t.Error("the same unit of two models has the same bridge")
	}
}
