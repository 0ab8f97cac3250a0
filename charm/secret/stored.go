package secret

import "encoding/json"

// Stored is a secret that JSON holds in clear: a part of what is kept in a file
// that root alone may read, and of nothing else. Everywhere else it prints as a
// Text does.
type Stored struct {
	Text
}

// MarshalJSON writes the value itself.
func (s Stored) MarshalJSON() ([]byte, error) {
	return json.Marshal(s.Reveal())
}

// UnmarshalJSON reads what MarshalJSON wrote. Its errors do not quote it.
func (s *Stored) UnmarshalJSON(data []byte) error {
	var value string
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	s.Text = New(value)
	return nil
}
