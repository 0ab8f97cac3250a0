package github

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// application is one runner application that the server offers.
type application struct {
	path     string
	filename string
	arch     string
	sha256   string
}

func readApplications(files []string) ([]application, error) {
	var found []application
	for _, file := range files {
		name := filepath.Base(file)
		rest, ok := strings.CutPrefix(name, "actions-runner-linux-")
		arch, _, dash := strings.Cut(rest, "-")
		if !ok || !dash || !strings.HasSuffix(name, ".tar.gz") {
			return nil, fmt.Errorf("cannot offer runner application %s: its name is not actions-runner-linux-<arch>-<version>.tar.gz", file)
		}
		sum, err := sumOf(file)
		if err != nil {
			return nil, fmt.Errorf("cannot offer runner application: %w", err)
		}
		found = append(found, application{path: file, filename: name, arch: arch, sha256: sum})
	}
	return found, nil
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func (s *Server) listDownloads(c *apiCall) reply {
	list := []map[string]string{}
	for _, one := range s.applications {
		list = append(list, map[string]string{
			"os":              "linux",
			"architecture":    one.arch,
			"download_url":    "http://" + c.Host + "/_downloads/" + one.filename,
			"filename":        one.filename,
			"sha256_checksum": one.sha256,
		})
	}
	return reply{status: http.StatusOK, body: list}
}

func (s *Server) serveApplication(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	for _, one := range s.applications {
		if one.filename == name {
			s.count("GET /_downloads/{file}", func(calls *Calls) {
				calls.Total++
				calls.note(http.StatusOK)
			})
			w.Header().Set("Content-Type", "application/gzip")
			http.ServeFile(w, r, one.path)
			return
		}
	}
	http.NotFound(w, r)
}
