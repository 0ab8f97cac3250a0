package runner

import (
	"strconv"
	"time"
)

// Keys of the marks that say what an instance is. A cloud may put something before
// them.
const (
	MarkModel    = "github-runner.model-uuid"
	MarkUnit     = "github-runner.unit"
	MarkAPI      = "github-runner.api"
	MarkPath     = "github-runner.path"
	MarkRunnerID = "github-runner.runner-id"
	MarkCreated  = "github-runner.created"
	MarkHash     = "github-runner.hash"
)

// Marks are what a new instance of the owner's is marked with.
func (o Owner) Marks(template Template, birth Birth, created time.Time) map[string]string {
	return map[string]string{
		MarkModel:    o.ModelUUID,
		MarkUnit:     o.Unit,
		MarkAPI:      birth.Scope.API,
		MarkPath:     birth.Scope.Path,
		MarkRunnerID: strconv.FormatInt(birth.RunnerID, 10),
		MarkCreated:  created.UTC().Format(time.RFC3339Nano),
		MarkHash:     template.Hash,
	}
}

// Marked is the instance of a name, as its marks describe it, created when its cloud
// says where they do not. Whatever can't be parsed stays zero: only somebody's edit
// can make it so, and a runner without id or scope is one that GitHub is not asked
// about.
func Marked(name string, mark func(key string) string, created time.Time) Instance {
	id, _ := strconv.ParseInt(mark(MarkRunnerID), 10, 64)
	if at, err := time.Parse(time.RFC3339Nano, mark(MarkCreated)); err == nil {
		created = at
	}
	return Instance{
		Name:     name,
		Scope:    Scope{API: mark(MarkAPI), Path: mark(MarkPath)},
		RunnerID: id,
		Created:  created,
		Hash:     mark(MarkHash),
	}
}

// Kinship is whose an instance is.
type Kinship int

// What an instance can be to an owner.
const (
	// KinStranger is an instance that is no business of the owner's.
	KinStranger Kinship = iota
	// KinOurs is one of the owner's runners.
	KinOurs
	// KinForeign looks like one of the owner's, and is not marked as such.
	KinForeign
)

// Kinship tells the owner's instances from those that merely look like them. Names
// of their shape with another unit's marks are that unit's business.
func (o Owner) Kinship(name string, mark func(key string) string) Kinship {
	marked := mark(MarkModel) != "" && mark(MarkUnit) != ""
	mine := mark(MarkModel) == o.ModelUUID && mark(MarkUnit) == o.Unit
	switch {
	case o.Owns(name) && mine:
		return KinOurs
	case o.Owns(name), o.HasShape(name) && !marked:
		return KinForeign
	}
	return KinStranger
}
