package metrics

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// object writes a JSON object as the log's readers know it: fields in the
// order they were added, a space after each comma and colon, every float with
// a decimal point, nothing beyond ASCII. encoding/json promises none of these.
type object struct {
	fields bytes.Buffer
}

func (o *object) key(name string) {
	if o.fields.Len() > 0 {
		o.fields.WriteString(", ")
	}
	o.fields.WriteString(quote(name) + ": ")
}

func (o *object) text(name, value string) {
	o.key(name)
	o.fields.WriteString(quote(value))
}

func (o *object) integer(name string, value int) {
	o.key(name)
	o.fields.WriteString(strconv.Itoa(value))
}

func (o *object) number(name string, value float64) {
	o.key(name)
	digits := strconv.FormatFloat(value, 'f', -1, 64)
	if !strings.Contains(digits, ".") {
		digits += ".0"
	}
	o.fields.WriteString(digits)
}

// seconds writes a duration to the microsecond.
func (o *object) seconds(name string, value time.Duration) {
	o.number(name, float64(value.Microseconds())/1e6)
}

func (o *object) object(name string, value *object) {
	o.key(name)
	o.fields.WriteString(value.String())
}

// String returns the object as JSON, on one line.
func (o *object) String() string {
	return "{" + o.fields.String() + "}"
}

var escapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`,
}

// quote returns a JSON string of printable ASCII characters only.
func quote(s string) string {
	var quoted strings.Builder
	quoted.WriteByte('"')
	for _, r := range s {
		escape, special := escapes[r]
		switch {
		case special:
			quoted.WriteString(escape)
		case r >= ' ' && r <= '~':
			quoted.WriteRune(r)
		default:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&quoted, `\u%04x`, unit)
			}
		}
	}
	quoted.WriteByte('"')
	return quoted.String()
}
