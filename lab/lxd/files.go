package lxd

import (
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github-runner/charm/cloudinit"
	"github-runner/lab/guests"
)

// rootFiles are in every instance.
func rootFiles(name string) map[string]string {
	return map[string]string{
		"/etc/hostname":                    name + "\n",
		"/etc/environment":                 "",
		"/etc/os-release":                  "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
		"/var/log/cloud-init-output.log":   "Cloud-init v. 22.4.2 finished\n",
		"/home/ubuntu/actions-runner/.env": "",
	}
}

// tree is all that can be read in an instance; s.mu is held.
func (i *instance) tree() map[string]string {
	tree := rootFiles(i.Name)
	maps.Copy(tree, i.Files)
	return tree
}

// The start script gives the environment in user-data to the application.
const (
	environmentFile = "/etc/github-runner/env"
	applicationFile = cloudinit.ApplicationDir + "/.env"
)

// written is what a file has from the instance's user-data, once its runner was
// started; s.mu is held.
func (i *instance) written(wanted string) string {
	switch {
	case !i.started(), wanted == cloudinit.JITPath: // which the start script deletes
		return ""
	case wanted == applicationFile:
		wanted = environmentFile
	}
	return guests.WrittenFile(i.Config["cloud-init.user-data"], wanted)
}

func (s *Server) getFile(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	wanted, err := filePath(r)
	if err != nil {
		return answer{}, err
	}
	if err := i.reachable(); err != nil {
		return answer{}, err
	}
	tree := i.tree()
	if content := i.written(wanted); content != "" {
		tree[wanted] = content
	}
	if content, ok := tree[wanted]; ok {
		return answer{serve: func(w http.ResponseWriter) {
			header := w.Header()
			header.Set("Content-Type", "application/octet-stream")
			header.Set("Content-Disposition", "inline;filename="+path.Base(wanted))
			header.Set("Content-Length", strconv.Itoa(len(content)))
			describeFile(header, "file", "0644")
			_, _ = io.WriteString(w, content)
		}}, nil
	}
	entries := entriesOf(tree, wanted)
	if len(entries) == 0 {
		return answer{}, refuse(http.StatusNotFound, "Not Found")
	}
	return answer{serve: func(w http.ResponseWriter) {
		describeFile(w.Header(), "directory", "0755")
		s.respond(w, answer{metadata: entries}, nil)
	}}, nil
}

func describeFile(header http.Header, kind, mode string) {
	header.Set("X-LXD-Type", kind)
	header.Set("X-LXD-Mode", mode)
	header.Set("X-LXD-Uid", "0")
	header.Set("X-LXD-Gid", "0")
}

func filePath(r *http.Request) (string, error) {
	wanted := r.URL.Query().Get("path")
	if wanted == "" {
		return "", refuse(http.StatusBadRequest, "Missing path argument")
	}
	return path.Clean("/" + wanted), nil
}

// entriesOf are the names directly below a folder.
func entriesOf(tree map[string]string, folder string) []string {
	found := make(map[string]bool)
	prefix := strings.TrimSuffix(folder, "/") + "/"
	for file := range tree {
		if rest, ok := strings.CutPrefix(file, prefix); ok {
			name, _, _ := strings.Cut(rest, "/")
			found[name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func (s *Server) postFile(r *http.Request) (answer, error) {
	content, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	wanted, err := filePath(r)
	if err != nil {
		return answer{}, err
	}
	if err := i.reachable(); err != nil {
		return answer{}, err
	}
	switch kind := r.Header.Get("X-LXD-type"); kind {
	case "", "file":
		i.Files[wanted] = string(content)
		s.changed(i)
	case "directory": // folders are there as soon as something is in them
	default:
		return answer{}, refuse(http.StatusBadRequest, "Bad file type: %s", kind)
	}
	s.events.lifecycle("instance-file-pushed", "instances/"+i.Name, map[string]any{"path": wanted}, false)
	return empty, nil
}

func (s *Server) deleteFile(r *http.Request) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	wanted, err := filePath(r)
	if err != nil {
		return answer{}, err
	}
	if err := i.reachable(); err != nil {
		return answer{}, err
	}
	if _, ok := i.Files[wanted]; !ok {
		return answer{}, refuse(http.StatusNotFound, "Not Found")
	}
	delete(i.Files, wanted)
	s.changed(i)
	s.events.lifecycle("instance-file-deleted", "instances/"+i.Name, map[string]any{"file": wanted}, false)
	return empty, nil
}
