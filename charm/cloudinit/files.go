package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"text/template"
)

// File is one file that cloud-init writes.
type File struct {
	Path        string `yaml:"path"`
	Permissions string `yaml:"permissions"`
	Append      bool   `yaml:"append,omitempty"`
	Encoding    string `yaml:"encoding,omitempty"`
	Content     string `yaml:"content"`
}

// longFile is how many bytes a file has at least that is worth compressing.
const longFile = 512

const compressed = "gz+b64"

// Compress makes the long ones among the files shorter. They share a compressor:
// making one takes longer than compressing what a runner has.
func Compress(files []File) error {
	writer, err := gzip.NewWriterLevel(nil, gzip.BestCompression)
	if err != nil {
		return err
	}
	for i, f := range files {
		if len(f.Content) < longFile {
			continue
		}
		var buffer bytes.Buffer
		writer.Reset(&buffer)
		if _, err := io.WriteString(writer, f.Content); err != nil {
			return err
		}
		if err := writer.Close(); err != nil {
			return err
		}
		files[i].Encoding, files[i].Content = compressed, base64.StdEncoding.EncodeToString(buffer.Bytes())
	}
	return nil
}

// files are all files that the machine starts with.
func (m Machine) files() ([]File, error) {
	values := m.values()
	templates := template.New("").Funcs(template.FuncMap{"shell": Shell, "systemd": systemd, "envLine": envLine, "environmentLine": environmentLine, "lower": strings.ToLower})
	templates, err := templates.ParseFS(templateFiles, "templates/*.tmpl")
	if err != nil {
		return nil, err
	}
	files, err := m.dataFiles()
	if err != nil {
		return nil, err
	}
	for _, f := range m.rendered() {
		var content bytes.Buffer
		if err := templates.ExecuteTemplate(&content, f.Content, values); err != nil {
			return nil, err
		}
		f.Content = content.String()
		files = append(files, f)
	}
	if err := Compress(files); err != nil {
		return nil, err
	}
	// Random, and in base64 already.
	files = append(files, File{Path: JITPath, Permissions: "0600", Content: m.JIT.Reveal()})
	if m.Policy != nil {
		files = append(files, File{Path: PolicyTokenPath, Permissions: "0600", Content: m.Policy.Token.Reveal()})
	}
	return files, nil
}

// rendered are the files that come from templates; Content is the template's
// name.
func (m Machine) rendered() []File {
	files := []File{
		{Path: startPath, Permissions: "0700", Content: "start.sh.tmpl"},
		{Path: endPath, Permissions: "0700", Content: "end.sh.tmpl"},
		{Path: preJobPath, Permissions: "0755", Content: "pre-job.sh.tmpl"},
		{Path: envPath, Permissions: "0600", Content: "env.tmpl"},
		{Path: "/etc/systemd/system/" + serviceName, Permissions: "0644", Content: "service.tmpl"},
	}
	if m.checks() != (Checks{}) {
		files = append(files, File{Path: checkPath, Permissions: "0755", Content: "check.py.tmpl"})
	}
	if len(m.variables()) > 0 {
		files = append(files, File{Path: "/etc/environment", Permissions: "0644", Append: true, Content: "environment.tmpl"})
	}
	if !m.Proxy.IsZero() {
		files = append(files, File{Path: "/etc/systemd/system/docker.service.d/http-proxy.conf", Permissions: "0600", Content: "docker.tmpl"})
	}
	if !m.Aproxy.IsZero() {
		files = append(files,
			File{Path: aproxyPath, Permissions: "0700", Content: "aproxy.sh.tmpl"},
			File{Path: aproxyRulesPath, Permissions: "0644", Content: "aproxy.nft.tmpl"},
		)
	}
	if m.DockerMirror != "" || !m.Proxy.IsZero() {
		files = append(files, File{Path: mergePath, Permissions: "0755", Content: "merge-json.py.tmpl"})
	}
	return files
}

// dataFiles are marshalled: what a job must pass, and what tells Docker's daemon
// and client of mirror and proxy, which is merged into what the image has.
func (m Machine) dataFiles() ([]File, error) {
	var files []File
	add := func(path string, value any) error {
		content, err := json.Marshal(value)
		files = append(files, File{Path: path, Permissions: "0600", Content: string(content)})
		return err
	}
	if checks := m.checks(); checks != (Checks{}) {
		if err := add(ChecksPath, checks); err != nil {
			return nil, err
		}
		files[0].Permissions = "0644" // the pre-job script is the user's
	}
	if m.DockerMirror != "" {
		if err := add(dockerDaemonPath, map[string][]string{"registry-mirrors": {m.DockerMirror}}); err != nil {
			return nil, err
		}
	}
	if m.Proxy.IsZero() {
		return files, nil
	}
	names := map[string]string{"HTTP_PROXY": "httpProxy", "HTTPS_PROXY": "httpsProxy", "NO_PROXY": "noProxy"}
	proxy := map[string]string{}
	for _, v := range m.proxyVariables() {
		proxy[names[v.Name]] = v.Value
	}
	return files, add(dockerClientPath, map[string]any{"proxies": map[string]any{"default": proxy}})
}
