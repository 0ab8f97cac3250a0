package guests

import (
	"compress/gzip"
	"encoding/base64"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// written is a file that a #cloud-config document writes.
type written struct {
	Path     string `yaml:"path"`
	Content  string `yaml:"content"`
	Encoding string `yaml:"encoding"`
}

// writtenFiles are those of a document; none when it is no #cloud-config.
func writtenFiles(userData string) []written {
	if !strings.HasPrefix(userData, "#cloud-config") {
		return nil
	}
	var document struct {
		WriteFiles []written `yaml:"write_files"`
	}
	if err := yaml.Unmarshal([]byte(userData), &document); err != nil {
		return nil
	}
	return document.WriteFiles
}

// WrittenFile is what a #cloud-config document writes to a path; "" when it is
// no such document or has no such file.
func WrittenFile(userData, path string) string {
	for _, file := range writtenFiles(userData) {
		if file.Path == path {
			return decoded(file.Content, file.Encoding)
		}
	}
	return ""
}

// delayedPowerOff is how a script has the machine power off later, in seconds.
var delayedPowerOff = regexp.MustCompile(`systemd-run --on-active=([0-9]+) systemctl poweroff`)

// PowerOffDelay is how long a machine stays up after its runner's end.
func PowerOffDelay(userData string) time.Duration {
	for _, file := range writtenFiles(userData) {
		found := delayedPowerOff.FindStringSubmatch(decoded(file.Content, file.Encoding))
		if found == nil {
			continue
		}
		if seconds, err := strconv.Atoi(found[1]); err == nil {
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}

// decoded is a file's content in one of cloud-init's encodings; "" where it is
// none.
func decoded(content, encoding string) string {
	var reader io.Reader = strings.NewReader(content)
	switch encoding {
	case "gz+b64", "gz+base64", "gzip+b64", "gzip+base64":
		unzipped, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, reader))
		if err != nil {
			return ""
		}
		reader = unzipped
	case "b64", "base64":
		reader = base64.NewDecoder(base64.StdEncoding, reader)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		return ""
	}
	return string(text)
}
