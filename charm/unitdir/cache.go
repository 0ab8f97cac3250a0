package unitdir

import (
	"errors"
	"fmt"
	"io/fs"
)

// Cache is a file in the unit's folder that may be lost at no more cost than
// some calls.
type Cache struct {
	dir  *Dir
	name string
}

// Cache returns the cache file of that name, such as etags.json; it need not
// exist yet.
func (d *Dir) Cache(name string) Cache {
	return Cache{dir: d, name: name}
}

// Load returns what was last saved, nil when there is nothing. With a
// *CorruptError it starts empty again.
func (c Cache) Load() ([]byte, error) {
	data, err := readFile(c.dir.Path(c.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, errNoFile) {
		return nil, c.dir.setAside(c.name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the cache: %w", err)
	}
	return data, nil
}

// Save replaces the cache, in one step and readable to our user alone.
func (c Cache) Save(data []byte) error {
	if err := writeFile(c.dir.Path(c.name), data, 0o600); err != nil {
		return fmt.Errorf("cannot write the cache: %w", err)
	}
	return nil
}

// SetAside keeps a cache that its owner could not understand as .bad, and
// returns the *CorruptError to be logged.
func (c Cache) SetAside(why error) error {
	return c.dir.setAside(c.name, why)
}
