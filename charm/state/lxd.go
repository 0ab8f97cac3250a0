package state

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// baseImages maps what the option base-image takes to an image's alias.
var baseImages = map[string]string{
	"jammy": "jammy", "22.04": "jammy",
	"noble": "noble", "24.04": "noble",
	"resolute": "resolute", "26.04": "resolute",
}

func (r *reader) baseImage() string {
	value := r.text(optionBaseImage)
	image, ok := baseImages[strings.ToLower(value)]
	if !ok {
		r.invalid(optionBaseImage, value, "give jammy (or 22.04), noble (24.04) or resolute (26.04)")
	}
	return image
}

func (r *reader) resources() Resources {
	return Resources{
		CPU:    r.integer(optionCPU, 1, maxCPU),
		Memory: r.size(optionMemory),
		Disk:   r.size(optionDisk),
	}
}

// sizeFormat has groups for the number and the unit's prefix.
var sizeFormat = regexp.MustCompile(`^([0-9]+)([KMGTPE])iB$`)

// size returns a number of bytes.
func (r *reader) size(option string) int64 {
	value := r.text(option)
	bytes, ok := parseSize(value)
	if !ok {
		r.invalid(option, value, "give a whole number above 0 and KiB, MiB, GiB, TiB, PiB or EiB, such as 7GiB")
	}
	return bytes
}

func parseSize(value string) (int64, bool) {
	parts := sizeFormat.FindStringSubmatch(value)
	if parts == nil {
		return 0, false
	}
	number, err := strconv.ParseUint(parts[1], 10, 64)
	shift := 10 * (1 + strings.Index("KMGTPE", parts[2]))
	if err != nil || number == 0 || number > math.MaxInt64>>shift {
		return 0, false
	}
	return int64(number) << shift, true
}
