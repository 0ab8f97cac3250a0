// Package secret holds the type for values that must never be printed.
package secret

// Text is a secret string: a token, a JIT configuration, a private key. It
// prints as [redacted] in every fmt verb, in logs and in JSON, so that it can
// be carried inside larger values without care. Only Reveal gives the value.
//
// The zero value is an empty secret.
type Text struct {
	// A pointer, because fmt can't call String on unexported fields of other
	// structs: there it prints the address.
	value *string
}

const redacted = "[redacted]"

// New wraps value.
func New(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{value: &value}
}

// Reveal returns the secret itself. Call it where the value leaves for the
// place it is meant for, and nowhere else.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool {
	return t.value == nil
}

// Equal reports whether both hold the same value. go-cmp uses it, too.
func (t Text) Equal(other Text) bool {
	return t.Reveal() == other.Reveal()
}

// String returns [redacted], or nothing when the secret is empty.
func (t Text) String() string {
	if t.IsZero() {
		return ""
	}
	return redacted
}

// GoString keeps %#v from printing the value.
func (t Text) GoString() string {
	return t.String()
}

// MarshalText keeps encoders from writing the value: what must be stored is
// stored with Reveal, visibly.
func (t Text) MarshalText() ([]byte, error) {
	return []byte(t.String()), nil
}
