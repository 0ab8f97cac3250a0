package lxd

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/canonical/lxd/shared/units"
)

// check says what is wrong with the value of an option.
type check func(value string) error

func isAny(string) error { return nil }

// optional takes the empty value, too.
func optional(is check) check {
	return func(value string) error {
		if value == "" {
			return nil
		}
		return is(value)
	}
}

func isBool(value string) error {
	if !slices.Contains([]string{"true", "false", "1", "0", "yes", "no", "on", "off"}, strings.ToLower(value)) {
		return says("Invalid value for a boolean %q", value)
	}
	return nil
}

func isInt(value string) error {
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		return says("Invalid value for an integer %q", value)
	}
	return nil
}

func isNatural(value string) error {
	if _, err := strconv.ParseUint(value, 10, 32); err != nil {
		return says("Invalid value for uint32 %q", value)
	}
	return nil
}

func isPriority(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 0 || n > 10 {
		return says("Invalid value for a priority %q", value)
	}
	return nil
}

func isSize(value string) error {
	_, err := units.ParseByteSizeString(value)
	return err
}

func isOneOf(valid ...string) check {
	return func(value string) error {
		if !slices.Contains(valid, value) {
			return says("Invalid value %q (not one of %v)", value, valid)
		}
		return nil
	}
}

// listOf takes values with commas between them.
func listOf(is check) check {
	return func(value string) error {
		for _, item := range strings.Split(value, ",") {
			if err := is(strings.TrimSpace(item)); err != nil {
				return says("Item %q: %w", item, err)
			}
		}
		return nil
	}
}

// isCIDR takes an address with a length, of one family.
func isCIDR(v4 bool) check {
	return func(value string) error {
		ip, _, err := net.ParseCIDR(value)
		if err != nil {
			return err
		}
		if (ip.To4() != nil) != v4 {
			return says("Not an IPv%d address %q", family(v4), value)
		}
		return nil
	}
}

func isAddress(v4 bool) check {
	return func(value string) error {
		if a, err := netip.ParseAddr(value); err != nil || a.Is4() != v4 {
			return says("Not an IPv%d address %q", family(v4), value)
		}
		return nil
	}
}

func family(v4 bool) int {
	if v4 {
		return 4
	}
	return 6
}

// isRange takes two addresses with a hyphen between them.
func isRange(value string) error {
	first, last, ok := strings.Cut(value, "-")
	start, startErr := netip.ParseAddr(first)
	end, endErr := netip.ParseAddr(last)
	if !ok || startErr != nil || endErr != nil || start.BitLen() != end.BitLen() {
		return says("IP range must contain start and end IP addresses")
	}
	return nil
}

func isMTU(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1280 || n > 16384 {
		return says("Invalid MTU %q", value)
	}
	return nil
}

var interfaceName = regexp.MustCompile(`^[-_a-zA-Z0-9.]+$`)

// isInterfaceName applies the kernel's rules for interfaces.
func isInterfaceName(value string) error {
	switch {
	case len(value) < 2:
		return says("Network interface is too short (minimum 2 characters)")
	case len(value) > 15:
		return says("Network interface is too long (maximum 15 characters)")
	case !interfaceName.MatchString(value):
		return says("Network interface contains invalid characters")
	}
	return nil
}

var cpuSet = regexp.MustCompile(`^\d+(-\d+)?(,\d+(-\d+)?)*$`)

func isCPULimit(value string) error {
	if !cpuSet.MatchString(value) {
		return says("Invalid CPU limit syntax")
	}
	return nil
}

func isMemoryLimit(value string) error {
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		return isInt(percent)
	}
	return isSize(value)
}

// isHostLabel takes what LXD takes as a name of an instance or an ACL.
func isHostLabel(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	const digits = "0123456789"
	switch {
	case len(name) < 1 || len(name) > 63:
		return says("Name must be 1-63 characters long")
	case name[0] == '-':
		return says("Name must not start with \"-\" character")
	case name[len(name)-1] == '-':
		return says("Name must not end with \"-\" character")
	case strings.Trim(name, digits) == "":
		return says("Name cannot be a number")
	case strings.Trim(name, letters+digits+"-") != "":
		return says("Name can only contain alphanumeric and hyphen characters")
	case strings.Contains(digits, name[:1]):
		return says("Name must not start with a number")
	}
	return nil
}
