package unitdir

import (
	"errors"
	"fmt"
	"io/fs"
)

// Cache is a file in the unit's folder that may be lost at no more cost than
// some calls.
type Cache struct {
	path string
}

// Cache returns the cache file of that name, such as etags.json; it need not
// exist yet.
func (d *Dir) Cache(name string) Cache {
	return CacheAt(d.Path(name))
}

// CacheAt returns the cache that is the file at a path in the unit's folder.
func CacheAt(path string) Cache {
	return Cache{path: path}
}

// Load returns what was last saved, nil when there is nothing. With a
// *CorruptError it starts empty again.
func (c Cache) Load() ([]byte, error) {
	data, err := readFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, errNoFile) {
		return nil, setAside(c.path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the cache: %w", err)
	}
	return data, nil
}

// Save replaces the cache, in one step and readable to our user alone.
func (c Cache) Save(data []byte) error {
	if err := writeFile(c.path, data, 0o600); err != nil {
		return fmt.Errorf("cannot write the cache: %w", err)
	}
	return nil
}

// SetAside keeps a cache that its owner could not understand as .bad, and
// returns the *CorruptError to be logged.
func (c Cache) SetAside(why error) error {
	return setAside(c.path, why)
}
