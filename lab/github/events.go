package github

import (
	"encoding/json"
	"strings"
)

// isPull reports whether an event is about a pull request, and tells of its
// branches.
func isPull(event string) bool {
	return strings.HasPrefix(event, "pull_request")
}

// payload is the usual content of an event, as far as anyone looks at it.
func (j *job) payload() json.RawMessage {
	repository := map[string]any{"full_name": j.Repository, "private": false}
	content := map[string]any{"repository": repository}
	by := map[string]any{"author_association": j.association}
	switch {
	case isPull(j.Event):
		head := map[string]any{"full_name": j.Repository}
		if j.headRepository != "" {
			head["full_name"] = j.headRepository
		}
		content["number"] = 1
		content["pull_request"] = map[string]any{
			"number":             1,
			"author_association": j.association,
			"head":               map[string]any{"ref": j.HeadRef, "sha": j.HeadSHA, "repo": head},
			"base":               map[string]any{"ref": j.BaseRef, "repo": repository},
		}
		if j.Event == "pull_request_review" {
			content["review"] = by
		}
		if j.Event == "pull_request_review_comment" {
			content["comment"] = by
		}
	case j.Event == "issue_comment":
		content["issue"], content["comment"] = map[string]any{"number": 1}, by
	default:
		content["ref"] = "refs/heads/" + j.RefName
	}
	data, err := json.Marshal(content)
	if err != nil {
		return json.RawMessage("{}") // strings always marshal
	}
	return data
}
