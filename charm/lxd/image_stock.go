package lxd

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github-runner/charm/runner"
)

// sourcePrefix begins the aliases of stock images that LXD downloaded for units, and
// that it keeps up to date.
const sourcePrefix = aliasPrefix + "source-"

// sourceAlias is the name of the stock image that is downloaded. It says from where, so
// that units with other sources have others.
func (c Config) sourceAlias() string {
	sum := sha256.Sum256([]byte(c.ImageSource.Server + "\x00" + c.ImageSource.Alias + "\x00" + c.InstanceType))
	return sourcePrefix + hex.EncodeToString(sum[:4])
}

// stockNames are the aliases of which the first that LXD has is the stock image's.
func (c Config) stockNames() []string {
	switch source := c.ImageSource; {
	case source.Server == "":
		return []string{cmp.Or(source.Alias, c.ImageAlias)}
	case source.Named:
		return []string{c.sourceAlias()}
	}
	return []string{c.ImageAlias, c.sourceAlias()}
}

// findStock returns the fingerprint of the stock image, and has LXD download one that
// it does not have. Where no runner is wanted none is needed: "".
func (c *Cloud) findStock(server server, count int) (fingerprint string, err error) {
	name, target, err := c.lookUpStock(server)
	if err == nil && target == "" && count > 0 {
		name, target, err = c.getStock(server)
	}
	if err != nil || target == "" {
		return "", err
	}
	if c.config.Arch == "" {
		return target, nil
	}
	image, _, err := server.GetImage(target)
	if err != nil {
		return "", cannot(err, "look up the image %s", name)
	}
	wanted := architectures[c.config.Arch]
	if image.Architecture != wanted && count == 0 {
		return "", nil
	}
	if image.Architecture != wanted {
		return "", runner.Trouble{Advice: "the image " + name + " is for another architecture: " + c.imageCommand(), Err: fmt.Errorf("it is for %s, this machine is %s", image.Architecture, wanted)}
	}
	return target, nil
}

// lookUpStock returns the stock image that LXD has, and its alias; "" where it has none.
func (c *Cloud) lookUpStock(server server) (name, fingerprint string, err error) {
	for _, name = range c.config.stockNames() {
		if fingerprint, err = server.aliased(c.config.InstanceType, name); err != nil || fingerprint != "" {
			break
		}
	}
	return name, fingerprint, err
}

// getStock is lookUpStock after a download.
func (c *Cloud) getStock(server server) (name, fingerprint string, err error) {
	if c.config.ImageSource.Server == "" {
		err := fmt.Errorf("LXD has no %s image with the alias %s", c.config.InstanceType, c.config.stockNames()[0])
		return "", "", runner.Trouble{Advice: "no image for the runners: " + c.imageCommand(), Err: err}
	}
	missing := c.download(server)
	if name, fingerprint, err = c.lookUpStock(server); err != nil || fingerprint != "" {
		return name, fingerprint, err
	}
	return "", "", missing
}

// downloadPatience is how long a look at a download waits for its end, in which most that
// fail have failed. LXD goes on with it, and tells by an event when the image is there.
const downloadPatience = 10 * time.Second

// download lets LXD get the stock image, or waits for the download that is under way,
// which may be another's. It returns what to say where the image is not there then.
func (c *Cloud) download(server server) error {
	source := c.config.ImageSource
	from := source.Alias + " from " + source.Server
	operation, err := server.underWay(isDownload)
	if err == nil && operation == nil {
		c.log.WithField("image", from).Info("LXD downloads the stock image of the runners")
		operation, err = server.begin(http.MethodPost, "/images", c.sourceRequest())
	}
	if err == nil {
		err = server.glimpse(operation, c.patience)
	}
	if err == nil && (operation.StatusCode == api.Success || !operation.StatusCode.IsFinal()) {
		return runner.Trouble{Advice: "LXD downloads the runners' image " + from + progressOf(operation), Err: runner.ErrPending}
	}
	if err == nil {
		err = classify(errors.New(cmp.Or(operation.Err, operation.Status)))
	}
	if errors.Is(err, runner.ErrUnreachable) {
		return err // it is LXD that does not answer
	}
	if errors.Is(err, runner.ErrQuota) {
		return runner.Trouble{Advice: c.roomForImages(), Err: err}
	}
	return runner.Trouble{Advice: "LXD can't download the runners' image " + from + ": see image-source, and LXD's own proxy (lxc config set core.proxy_https=URL)", Err: err}
}

// sourceRequest asks for the stock image, and for every newer one later.
func (c *Cloud) sourceRequest() api.ImagesPost {
	source := c.config.ImageSource
	return api.ImagesPost{
		ImagePut: api.ImagePut{AutoUpdate: true},
		Source: &api.ImagesPostSource{
			Type: "image", Mode: "pull",
			ImageSource: api.ImageSource{Server: source.Server, Protocol: "simplestreams", Alias: source.Alias, ImageType: c.config.InstanceType},
		},
		Aliases: []api.ImageAlias{{Name: c.config.sourceAlias(), Description: "Stock image of GitHub runners, " + source.Alias + " from " + source.Server}},
	}
}

// The words of LXD's operations on images. An instance that is made an image has the
// same description as a download, and another progress.
const (
	downloadDescription = "Downloading image"
	downloadProgress    = "download_progress"
	packProgress        = "create_image"
)

// underWay returns an operation that is not over and is of that kind; nil when there is
// none.
func (s server) underWay(kind func(api.Operation) bool) (*api.Operation, error) {
	operations, err := s.GetOperations()
	if err != nil {
		return nil, cannot(err, "list LXD's operations")
	}
	at := slices.IndexFunc(operations, func(o api.Operation) bool { return !o.StatusCode.IsFinal() && kind(o) })
	if at < 0 {
		return nil, nil
	}
	return &operations[at], nil
}

// isDownload reports whether an operation downloads an image, of which LXD does not say
// which. At its very beginning it may be one that packs.
func isDownload(operation api.Operation) bool {
	return operation.Description == downloadDescription && !progresses(operation, packProgress)
}

// isPacking reports whether an operation makes an image of an instance. At its very
// beginning it may be a download.
func isPacking(operation api.Operation) bool {
	return operation.Description == downloadDescription && !progresses(operation, downloadProgress)
}

// progresses reports whether an operation tells of a progress that begins so.
func progresses(operation api.Operation, prefix string) bool {
	for key := range operation.Metadata {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// progressOf is how far a download is, in LXD's words.
func progressOf(operation *api.Operation) string {
	const longest = 40
	text, _ := operation.Metadata[downloadProgress].(string)
	if text == "" || len(text) > longest {
		return ""
	}
	return " (" + text + ")"
}

// begin sends a request that LXD answers with an operation.
func (s server) begin(method, path string, body any) (*api.Operation, error) {
	response, _, err := s.RawQuery(method, "/1.0"+path, body, "")
	if err != nil {
		return nil, s.explain(err)
	}
	operation, err := response.MetadataAsOperation()
	if err != nil {
		return nil, fmt.Errorf("cannot understand LXD's answer to %s %s: %w", method, path, err)
	}
	return operation, nil
}

// glimpse waits until an operation has ended, for so long at most, and takes in how it
// is then. Of one that LXD has forgotten it learns nothing.
//
// What the wait is answered is of no interest: since 5.15 LXD calls it an error when the
// time is over.
func (s server) glimpse(operation *api.Operation, patience time.Duration) error {
	path := "/1.0/operations/" + url.PathEscape(operation.ID)
	_, _, _ = s.RawQuery(http.MethodGet, fmt.Sprintf("%s/wait?timeout=%d", path, int(patience.Seconds())), nil, "")
	response, _, err := s.RawQuery(http.MethodGet, path, nil, "")
	if err = s.explain(err); errors.Is(err, runner.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := response.MetadataAsStruct(operation); err != nil {
		return fmt.Errorf("cannot understand the state of LXD's operation %s: %w", operation.ID, err)
	}
	return nil
}

// isDownloaded reports whether an image is a stock image that was downloaded for units,
// and that nobody has given a name of their own.
func isDownloaded(found api.Image) bool {
	foreign := func(a api.ImageAlias) bool { return !strings.HasPrefix(a.Name, sourcePrefix) }
	return len(found.Aliases) > 0 && !slices.ContainsFunc(found.Aliases, foreign)
}

// unusedSource is after how long a stock image is not kept any more: a unit that makes
// its image anew, or starts runners from it, uses it more often.
const unusedSource = 30 * 24 * time.Hour

// isUnused reports whether a downloaded image is one that no unit's option names any
// more. A newer one of the same source, which LXD gets by itself, was used when the one
// before it was.
func isUnused(found api.Image) bool {
	last := found.LastUsedAt
	if last.IsZero() {
		last = found.UploadedAt
	}
	return isDownloaded(found) && time.Since(last) >= unusedSource
}

// imageCommand is what gets a stock image.
func (c *Cloud) imageCommand() string {
	alias, source := c.config.stockNames()[0], "REMOTE:IMAGE"
	if alias == c.config.ImageAlias {
		source = "ubuntu:" + cmp.Or(releases[alias], alias)
	}
	command := fmt.Sprintf("lxc image copy %s local: --alias %s", source, alias)
	if c.config.InstanceType == VirtualMachine {
		command += " --vm"
	}
	return command
}

// releases are the names that the stock images have at their public server.
var releases = map[string]string{"jammy": "22.04", "noble": "24.04", "resolute": "26.04"}
