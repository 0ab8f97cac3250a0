package openstack

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github-runner/lab/clock"
)

const imagePath = "/image"

const (
	// imagesAPage is how many images a page has where nobody says.
	imagesAPage = 25
	// maxImages is how many it has at most.
	maxImages = 1000
)

// The statuses of images.
const (
	imageQueued = "queued"
	imageSaving = "saving"
	imageActive = "active"
)

// storedImage is one image, without what is in it.
type storedImage struct {
	id, name, owner   string
	public, protected bool
	hidden            bool
	status            string
	disk, container   string
	minDisk, minRAM   int
	size              int64
	checksum          string
	tags              []string
	// properties are never changed in place.
	properties map[string]string
	// files is what was written to the disk of the server that it was made of.
	files   map[string]string
	created time.Time
	updated time.Time
}

func glanceRefusal(r refusal) any {
	return object{
		"message": r.message + "<br /><br />\n\n\n", "title": http.StatusText(r.status),
		"code": fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)),
	}
}

func (s *Server) image() *service {
	v := &service{
		name: "glance", kind: "image", root: imagePath, path: imagePath,
		refuse: glanceRefusal,
		broken: "The server has either erred or is incapable of performing the requested operation.",
	}
	s.route(v, true, map[string]handler{
		"GET /{$}":      s.getImageVersions,
		"GET /versions": s.getImageVersions,
		"GET /v2/{$}":   s.getImageVersions,
	})
	s.route(v, false, map[string]handler{
		"GET /v2/images":           s.listImages,
		"POST /v2/images":          s.postImage,
		"GET /v2/images/{id}":      s.getImage,
		"PATCH /v2/images/{id}":    s.patchImage,
		"DELETE /v2/images/{id}":   s.deleteImage,
		"PUT /v2/images/{id}/file": s.putImageFile,
	})
	return v
}

func (s *Server) getImageVersions(c call) (answer, error) {
	var all []any
	for _, version := range []string{"v2.15", "v2.9", "v2.0"} {
		status := "SUPPORTED"
		if all == nil {
			status = "CURRENT"
		}
		all = append(all, object{"id": version, "status": status, "links": []any{link("self", c.base()+imagePath+"/v2/")}})
	}
	return answer{status: http.StatusMultipleChoices, body: object{"versions": all}}, nil
}

// addFirstImage adds an image that is there at first.
func (s *Server) addFirstImage(one Image, owner string) {
	now := time.Now()
	sum := md5.Sum([]byte(one.Name))
	s.images = append(s.images, &storedImage{
		id: newUUID(), name: one.Name, owner: owner, public: owner == nobody, protected: owner == nobody, status: imageActive,
		disk: "qcow2", container: "bare", minDisk: one.MinDisk, size: 600 << 20, checksum: hex.EncodeToString(sum[:]),
		properties: one.Properties, created: now, updated: now,
	})
}

func (i *storedImage) show() object {
	shown := object{}
	for key, value := range i.properties {
		shown[key] = value
	}
	visibility := "shared"
	if i.public {
		visibility = "public"
	}
	maps.Copy(shown, object{
		"id": i.id, "name": i.name, "owner": i.owner, "status": i.status, "visibility": visibility, "protected": i.protected, "os_hidden": i.hidden,
		"disk_format": nullable(i.disk), "container_format": nullable(i.container), "min_disk": i.minDisk, "min_ram": i.minRAM,
		"size": nil, "checksum": nullable(i.checksum), "virtual_size": nil, "os_hash_algo": nil, "os_hash_value": nil,
		"tags": append([]string{}, i.tags...), "created_at": zulu(i.created), "updated_at": zulu(i.updated),
		"self": "/v2/images/" + i.id, "file": "/v2/images/" + i.id + "/file", "schema": "/v2/schemas/image",
	})
	if i.status == imageActive {
		shown["size"] = i.size
	}
	return shown
}

// nullable is a text, or JSON's null.
func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// visibleImages are the images that a project sees, newest first; s.mu is held.
func (s *Server) visibleImages(projectID string) []*storedImage {
	return slices.DeleteFunc(newestFirst(s.images), func(i *storedImage) bool {
		return !i.public && i.owner != projectID || s.faults.Take(ImageGone, i.name) != nil
	})
}

// visibleImage is an image by its ID; nil: the project sees no such; s.mu is held.
func (s *Server) visibleImage(projectID, id string) *storedImage {
	at := slices.IndexFunc(s.images, func(i *storedImage) bool { return i.id == id && (i.public || i.owner == projectID) })
	if at < 0 || s.faults.Take(ImageGone, s.images[at].name) != nil {
		return nil
	}
	return s.images[at]
}

// listImages lists the images that a project sees, newest first.
func (s *Server) listImages(c call) (answer, error) {
	query := c.URL.Query()
	limit := imagesAPage
	if text := query.Get("limit"); text != "" {
		wanted, err := strconv.Atoi(text)
		switch {
		case err != nil:
			return answer{}, refuse(http.StatusBadRequest, "limit param must be an integer")
		case wanted < 0:
			return answer{}, refuse(http.StatusBadRequest, "limit param must be positive")
		}
		limit = min(wanted, maxImages)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var shown []object
	for _, i := range s.visibleImages(c.project().id) {
		if one := i.show(); wantedImage(one, query) {
			shown = append(shown, one)
		}
	}
	marker := query.Get("marker")
	part, more, ok := page(shown, func(one object) string { return one["id"].(string) }, marker, limit)
	if !ok {
		return answer{}, refuse(http.StatusBadRequest, "Invalid marker. Image could not be found.")
	}
	body := object{"images": append([]object{}, part...), "first": "/v2/images", "schema": "/v2/schemas/images"}
	if more != "" {
		query.Set("marker", more)
		body["next"] = "/v2/images?" + query.Encode()
	}
	return answer{body: body}, nil
}

// wantedImage reports whether an image is what a query asks for.
func wantedImage(one object, query url.Values) bool {
	if query.Get("os_hidden") == "" && one["os_hidden"] == true {
		return false
	}
	for key := range query {
		value := query.Get(key)
		switch key {
		case "limit", "marker", "sort", "sort_key", "sort_dir", "member_status":
			continue
		case "tag":
			if !slices.Contains(one["tags"].([]string), value) {
				return false
			}
			continue
		case "visibility":
			if value == "all" {
				continue
			}
		}
		choices := []string{value}
		if list, ok := strings.CutPrefix(value, "in:"); ok {
			choices = strings.Split(list, ",")
		}
		if one[key] == nil || !slices.Contains(choices, fmt.Sprint(one[key])) {
			return false
		}
	}
	return true
}

// findImage finds an image by the ID in a call's path; s.mu is held.
func (s *Server) findImage(c call) (*storedImage, error) {
	i := s.visibleImage(c.project().id, c.PathValue("id"))
	if i == nil {
		return nil, refuse(http.StatusNotFound, "No image found with ID %s", c.PathValue("id"))
	}
	return i, nil
}

// findOwnImage finds an image with which the caller may do something; s.mu is held.
func (s *Server) findOwnImage(c call, does string) (*storedImage, error) {
	i, err := s.findImage(c)
	if err == nil && i.owner != c.project().id {
		return nil, notAllowed(does)
	}
	return i, err
}

func notAllowed(does string) error {
	return refuse(http.StatusForbidden, "You are not authorized to complete %s action.", does)
}

func (s *Server) getImage(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.findImage(c)
	if err != nil {
		return answer{}, err
	}
	return answer{body: i.show()}, nil
}

func (s *Server) postImage(c call) (answer, error) {
	var post map[string]any
	if err := json.NewDecoder(io.LimitReader(c.Body, maxBody)).Decode(&post); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "Malformed JSON in request body.")
	}
	now := time.Now()
	i := &storedImage{id: newUUID(), owner: c.project().id, status: imageQueued, created: now, updated: now}
	for key, value := range post {
		if err := i.set(key, value); err != nil {
			return answer{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images = append(s.images, i)
	location := c.base() + imagePath + "/v2/images/" + i.id
	return answer{status: http.StatusCreated, header: http.Header{"Location": {location}}, body: i.show()}, nil
}

// set sets one field or property of an image.
func (i *storedImage) set(key string, value any) error {
	text, isText := value.(string)
	number, isNumber := value.(float64)
	flag, isFlag := value.(bool)
	switch {
	case slices.Contains([]string{"status", "size", "checksum", "created_at", "updated_at", "owner", "file", "self", "schema", "os_hash_algo", "os_hash_value", "virtual_size"}, key):
		return refuse(http.StatusForbidden, "Attribute '%s' is read-only.", key)
	case key == "visibility" && text == "public":
		return notAllowed("publicize_image")
	case key == "visibility":
		return nil
	case key == "min_disk" && isNumber:
		i.minDisk = int(number)
	case key == "min_ram" && isNumber:
		i.minRAM = int(number)
	case key == "protected" && isFlag:
		i.protected = flag
	case key == "os_hidden" && isFlag:
		i.hidden = flag
	case key == "tags":
		i.tags = nil
		for _, tag := range asList(value) {
			i.tags = append(i.tags, fmt.Sprint(tag))
		}
	case key == "id" && isUUID(text):
		i.id = text
	case !isText:
		return refuse(http.StatusBadRequest, "Provided object does not match schema 'image': %v is not of type 'string'", value)
	default:
		i.setText(key, text)
	}
	return nil
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}

func (i *storedImage) setText(key, text string) {
	switch key {
	case "name":
		i.name = text
	case "disk_format":
		i.disk = text
	case "container_format":
		i.container = text
	default:
		properties := maps.Clone(i.properties)
		if properties == nil {
			properties = make(map[string]string)
		}
		properties[key] = text
		i.properties = properties
	}
}

// patchImage changes an image by a JSON patch.
func (s *Server) patchImage(c call) (answer, error) {
	const patchType = "application/openstack-images-v2.1-json-patch"
	if c.Header.Get("Content-Type") != patchType {
		return answer{}, refuse(http.StatusUnsupportedMediaType, "Unsupported Content-Type: %s", c.Header.Get("Content-Type"))
	}
	var steps []struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	if err := decode(c, &steps); err != nil {
		return answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.findOwnImage(c, "modify_image")
	if err != nil {
		return answer{}, err
	}
	changed := *i
	for _, step := range steps {
		key := strings.TrimPrefix(step.Path, "/")
		_, there := changed.show()[key]
		switch {
		case step.Op != "add" && step.Op != "replace" && step.Op != "remove":
			return answer{}, refuse(http.StatusBadRequest, "Operations must be JSON objects with an op of add, replace or remove.")
		case step.Op != "add" && !there:
			return answer{}, refuse(http.StatusConflict, "Property %s does not exist.", key)
		case step.Op == "remove" && changed.properties[key] == "":
			return answer{}, refuse(http.StatusForbidden, "Property %s may not be removed.", key)
		case step.Op == "remove":
			changed.properties = maps.Clone(changed.properties)
			delete(changed.properties, key)
		default:
			if err := changed.set(key, step.Value); err != nil {
				return answer{}, err
			}
		}
	}
	changed.updated = time.Now()
	*i = changed
	return answer{body: i.show()}, nil
}

func (s *Server) deleteImage(c call) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.findOwnImage(c, "delete_image")
	if err != nil {
		return answer{}, err
	}
	if i.protected {
		return answer{}, refuse(http.StatusForbidden, "Image %s is protected and cannot be deleted.", i.id)
	}
	s.dropImage(i)
	return answer{status: http.StatusNoContent}, nil
}

// dropImage removes an image; s.mu is held.
func (s *Server) dropImage(i *storedImage) {
	s.images = slices.DeleteFunc(s.images, func(one *storedImage) bool { return one == i })
}

// putImageFile uploads an image, of which the emulation keeps the size and the sum.
func (s *Server) putImageFile(c call) (answer, error) {
	s.mu.Lock()
	i, err := s.findOwnImage(c, "upload_image")
	switch {
	case err != nil:
	case i.status != imageQueued:
		err = refuse(http.StatusConflict, "Image status transition from %s to %s is not allowed", i.status, imageSaving)
	case i.disk == "" || i.container == "":
		err = refuse(http.StatusBadRequest, "Properties disk_format, container_format must be set prior to saving data.")
	default:
		i.status = imageSaving
	}
	s.mu.Unlock()
	if err != nil {
		return answer{}, err
	}
	sum := md5.New()
	size, err := io.Copy(sum, c.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		i.status = imageQueued
		return answer{}, refuse(http.StatusBadRequest, "Error in store: %v", err)
	}
	i.status, i.size, i.checksum, i.updated = imageActive, size, hex.EncodeToString(sum.Sum(nil)), time.Now()
	return answer{status: http.StatusNoContent}, nil
}

// snapshot begins an image of a server; s.mu is held.
func (s *Server) snapshot(v *server, name string, metadata map[string]string) *storedImage {
	now := time.Now()
	properties := map[string]string{
		"base_image_ref": v.image, "image_type": "snapshot", "instance_uuid": v.id, "owner_id": v.project, "user_id": v.user,
		"boot_roles": "member",
	}
	maps.Copy(properties, metadata)
	i := &storedImage{
		id: newUUID(), name: name, owner: v.project, status: imageQueued, minDisk: v.flavor.Disk,
		properties: properties, files: v.disk.Files(), created: now, updated: now,
	}
	s.images = append(s.images, i)
	v.become(v.vmState, "image_snapshot")
	go s.save(v, i)
	return i
}

// save makes the image of a server.
func (s *Server) save(v *server, i *storedImage) {
	half := s.options.Timing.Snapshot / 2
	if clock.Pause(v.life, half) != nil {
		s.abandon(v, i)
		return
	}
	s.mu.Lock()
	i.status, i.disk, i.container = imageSaving, "qcow2", "bare"
	s.mu.Unlock()
	s.with(v, func() { v.become(v.vmState, "image_uploading") })
	if s.faults.Take(SnapshotHangs, v.name) != nil {
		<-v.life.Done()
	}
	if clock.Pause(v.life, s.options.Timing.Snapshot-half) != nil || s.faults.Take(SnapshotFails, v.name) != nil {
		s.abandon(v, i)
		return
	}
	s.mu.Lock()
	sum := md5.Sum([]byte(i.id))
	i.status, i.size, i.checksum, i.updated = imageActive, 900<<20, hex.EncodeToString(sum[:]), time.Now()
	s.mu.Unlock()
	s.with(v, func() { v.become(v.vmState, "") })
}

// abandon is the end of a snapshot that fails: Nova deletes the image.
func (s *Server) abandon(v *server, i *storedImage) {
	s.mu.Lock()
	s.dropImage(i)
	s.mu.Unlock()
	s.with(v, func() { v.become(v.vmState, "") })
}
