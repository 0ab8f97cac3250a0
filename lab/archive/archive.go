// Package archive makes a small archive of Debian packages, which stand for those that
// a runner image has: images are made from it without the Internet.
package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Tool is the program that Make needs.
const Tool = "dpkg-deb"

// YQ is the file of an archive that stands for the program yq, which is no package.
const YQ = "yq"

// nothing is a program that does nothing.
const nothing = "#!/bin/sh\n"

// packages are those that the recipe of images installs, with the program of each.
var packages = map[string]string{
	"docker.io":   "docker",
	"npm":         "npm",
	"python3-pip": "pip",
	"shellcheck":  "shellcheck",
	"wget":        "wget",
	"unzip":       "unzip",
	"gh":          "gh",
	"git":         "git",
	"jq":          "jq",
	"curl":        "curl",
	"sudo":        "sudo",
}

// Make fills a folder with an archive of packages with one program each, which does
// nothing; npm installs yarn. Apt takes it by "deb [trusted=yes] URL ./".
func Make(ctx context.Context, folder string) error {
	work, err := os.MkdirTemp("", "archive-")
	if err != nil {
		return fmt.Errorf("cannot make an archive of packages: %w", err)
	}
	err = write(ctx, work, folder)
	if err = errors.Join(err, os.RemoveAll(work)); err != nil {
		return fmt.Errorf("cannot make an archive of packages in %s: %w", folder, err)
	}
	return nil
}

func write(ctx context.Context, work, folder string) error {
	var index bytes.Buffer
	for name, program := range packages {
		entry, err := pack(ctx, filepath.Join(work, name), folder, name, program)
		if err != nil {
			return err
		}
		index.WriteString(entry)
	}
	list := index.Bytes()
	about := fmt.Sprintf("Date: %s\nSHA256:\n %x %d Packages\n", time.Now().UTC().Format(time.RFC1123), sha256.Sum256(list), len(list))
	for name, content := range map[string][]byte{"Packages": list, "Release": []byte(about), YQ: []byte(nothing)} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pack makes one package and returns what the list of packages says of it.
func pack(ctx context.Context, tree, folder, name, program string) (entry string, err error) {
	script := nothing
	if name == "npm" {
		script += "case \"$*\" in 'install --global yarn@'*) ;; *) exit 0;; esac\nprintf '#!/bin/sh\\n' > /usr/local/bin/yarn; chmod 0755 /usr/local/bin/yarn\n"
	}
	// Older than those that the lab's image has.
	control := fmt.Sprintf("Package: %s\nVersion: 0.1\nArchitecture: all\nMaintainer: tests <tests@example.com>\nDescription: stands for %s\n", name, name)
	for path, content := range map[string]string{"DEBIAN/control": control, "usr/bin/" + program: script} {
		path = filepath.Join(tree, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			return "", err
		}
	}
	file := name + ".deb"
	if out, err := exec.CommandContext(ctx, Tool, "--root-owner-group", "--build", tree, filepath.Join(folder, file)).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", Tool, err, bytes.TrimSpace(out))
	}
	content, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%sFilename: ./%s\nSize: %d\nSHA256: %x\n\n", control, file, len(content), sha256.Sum256(content)), nil
}
