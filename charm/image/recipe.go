package image

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"github-runner/charm/cloudinit"
	"github-runner/charm/runner"
)

//go:embed templates
var templateFiles embed.FS

// recipeVersion is raised when images that exist should be made anew because this
// package makes them differently now.
const recipeVersion = 1

// packages are what jobs expect of a runner, beside what the options add. Those that
// only GitHub's own images have are not among them.
var packages = [...]string{"docker.io", "npm", "python3-pip", "shellcheck", "jq", "wget", "unzip", "gh", "curl", "git", "sudo"}

// yarn is the version of yarn that is installed; npm verifies what it downloads.
const yarn = "1.22.22"

// Download is one file that is taken only with its checksum.
type Download struct {
	URL string `json:"url"`
	// SHA256 is in hexadecimal.
	SHA256 string `json:"sha256"`
}

// YQ is the build of yq for an architecture by Go's name, "amd64" or "arm64". Ubuntu
// has a package of that name which is another program.
func YQ(arch string) Download {
	const release = "https://github.com/mikefarah/yq/releases/download/v4.44.3/yq_linux_"
	checksums := map[string]string{
		"amd64": "a2c097180dd884a8d50c956ee16a9cec070f30a7947cf4ebf87d5f36213e9ed7",
		"arm64": "0e7e1524f68d91b3ff9b089872d185940ab0fa020a5a9052046ef10547023156",
	}
	return Download{URL: release + arch, SHA256: checksums[arch]}
}

// Recipe is all that a runner image is made of.
type Recipe struct {
	// Base is the fingerprint of the stock image that it begins with.
	Base string
	// Application is the runner application.
	Application runner.Application
	// YQ is the program yq.
	YQ Download
	// Packages are more of the distribution's packages.
	Packages []string
	// Script is run by root in the machine, at the end; "": none.
	Script string
	// Proxy is what the machine reaches the web through while it becomes an image.
	// It is no part of the image.
	Proxy cloudinit.Proxy
	// ExchangeMounted tells that the exchange folder will be a mount point; otherwise
	// the machine says on its console what it has to say.
	ExchangeMounted bool
}

// Hash identifies what an image is made of: images of recipes with the same hash are
// as good as each other, but for the day on which their packages were installed.
func (r Recipe) Hash() string {
	canonical, _ := json.Marshal(struct {
		Version  int      `json:"version"`
		Base     string   `json:"base"`
		SHA256   string   `json:"application"`
		YQ       Download `json:"yq"`
		Packages []string `json:"packages"`
		Script   string   `json:"script"`
	}{recipeVersion, r.Base, r.Application.SHA256, r.YQ, r.packages(), r.Script})
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// packages are all that are installed, sorted.
func (r Recipe) packages() []string {
	all := slices.Concat(packages[:], r.Packages)
	slices.Sort(all)
	return slices.Compact(all)
}

// about is what is kept with an image of the recipe.
func (r Recipe) about(made time.Time) About {
	return About{Recipe: r.Hash(), Base: r.Base, RunnerVersion: r.Application.Version, Made: made.UTC()}
}

// UserData makes a machine of the stock image make itself into a runner image. It
// fails where the script is too long for the clouds.
func (r Recipe) UserData() ([]byte, error) {
	facts := Facts{Recipe: r.Hash(), RunnerVersion: r.Application.Version, Packages: r.packages()}
	check, err := templateFiles.ReadFile("templates/check-archive.py")
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of an image: %w", err)
	}
	files := []cloudinit.File{{Path: checkPath, Permissions: "0755", Content: string(check)}}
	if r.Script != "" {
		files = append(files, cloudinit.File{Path: scriptPath, Permissions: "0700", Content: r.Script})
	}
	return r.render("build.sh.tmpl", facts, files)
}

// TrialUserData makes a machine of an image of the recipe show that the image works.
func (r Recipe) TrialUserData() ([]byte, error) {
	return r.render("trial.sh.tmpl", Facts{Trial: true, RunnerVersion: r.Application.Version}, nil)
}

// Places inside a machine for images.
const (
	workPath   = "/etc/github-runner-image/work"
	checkPath  = "/etc/github-runner-image/check-archive"
	scriptPath = "/etc/github-runner-image/script"
)

// values are what the templates see.
type values struct {
	Recipe
	Packages  []string
	Variables []variable
	Yarn      string
	Paths     paths
}

type variable struct {
	Name, Value string
}

type paths struct {
	User, Home, Application, Exchange string
	Diag, Progress, Result            string
	Check, Script                     string
}

// render is the "#cloud-config" document of a machine that runs a script.
func (r Recipe) render(script string, facts Facts, files []cloudinit.File) ([]byte, error) {
	templates := template.New("").Funcs(template.FuncMap{"shell": cloudinit.Shell})
	templates, err := templates.ParseFS(templateFiles, "templates/*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of an image: %w", err)
	}
	var work bytes.Buffer
	if err := templates.ExecuteTemplate(&work, script, r.values()); err != nil {
		return nil, fmt.Errorf("cannot render the user-data of an image: %w", err)
	}
	known, err := json.Marshal(facts)
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of an image: %w", err)
	}
	files = append(files,
		cloudinit.File{Path: FactsPath, Permissions: "0644", Content: string(known)},
		cloudinit.File{Path: workPath, Permissions: "0700", Content: work.String()},
	)
	if err := cloudinit.Compress(files); err != nil {
		return nil, fmt.Errorf("cannot render the user-data of an image: %w", err)
	}
	document, err := yaml.Marshal(map[string]any{
		"manage_etc_hosts": true,
		"write_files":      files,
		"runcmd":           [][]string{{workPath}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot render the user-data of an image: %w", err)
	}
	userData := append([]byte("#cloud-config\n"), document...)
	if len(userData) > cloudinit.MaxSize {
		return nil, fmt.Errorf("cannot render the user-data of an image: %d bytes are too large, at most %d fit: shorten image-script, which has %d", len(userData), cloudinit.MaxSize, len(r.Script))
	}
	return userData, nil
}

func (r Recipe) values() values {
	v := values{
		Recipe:   r,
		Packages: r.packages(),
		Yarn:     yarn,
		Paths: paths{
			User: cloudinit.User, Home: cloudinit.Home, Application: cloudinit.ApplicationDir, Exchange: cloudinit.ExchangeDir,
			Diag: cloudinit.DiagFile, Progress: ProgressFile, Result: ResultFile,
			Check: checkPath, Script: scriptPath,
		},
	}
	for _, one := range []variable{{"http_proxy", r.Proxy.HTTP.Reveal()}, {"https_proxy", r.Proxy.HTTPS.Reveal()}, {"no_proxy", r.Proxy.NoProxy}} {
		if one.Value != "" && !r.Proxy.IsZero() {
			// Programs disagree on which spelling they read.
			v.Variables = append(v.Variables, one, variable{strings.ToUpper(one.Name), one.Value})
		}
	}
	return v
}
