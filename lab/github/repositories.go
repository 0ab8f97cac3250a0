package github

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// defaultBranch is that of every repository.
const defaultBranch = "main"

// Protection is a classic branch protection.
type Protection struct {
	Repository string `json:"repository"`
	Branch     string `json:"branch"`
	// Approvals is how many reviews a pull request needs; negative: none are
	// asked for.
	Approvals int `json:"approvals"`
	// Bypass are those who need none, as "user:bob", "team:ops" or "app:bot".
	Bypass []string `json:"bypass,omitempty"`
	// Off takes the protection away; the branch stays.
	Off bool `json:"off,omitempty"`
}

// Ruleset asks for pull requests to one branch.
type Ruleset struct {
	ID int64 `json:"id"`
	// Path is "owner/name", or an organisation for all of its repositories.
	Path      string `json:"path"`
	Branch    string `json:"branch"`
	Approvals int    `json:"approvals"`
	// Bypass are types of actors in GitHub's words, such as "OrganizationAdmin".
	Bypass []string `json:"bypass,omitempty"`
	// Hidden keeps from the token who may bypass it.
	Hidden bool `json:"hidden,omitempty"`
	// Off removes the rulesets of that path and branch.
	Off bool `json:"off,omitempty"`
}

// Collaborator is an account with a role in a repository.
type Collaborator struct {
	Repository string `json:"repository"`
	Login      string `json:"login"`
	Role       string `json:"role"`
	// Member tells that it belongs to the organisation.
	Member bool `json:"member,omitempty"`
}

// Pull is a pull request.
type Pull struct {
	Repository     string `json:"repository"`
	Number         int    `json:"number"`
	HeadRepository string `json:"head_repository"`
	HeadRef        string `json:"head_ref"`
	BaseRef        string `json:"base_ref"`
	Closed         bool   `json:"closed,omitempty"`
}

// Comment is a comment on a pull request.
type Comment struct {
	Repository string `json:"repository"`
	Number     int    `json:"number"`
	Author     string `json:"author"`
	Body       string `json:"body"`
}

// settings are what was said about repositories. All others are as GitHub makes a
// new one: a branch main without protection, and nothing else.
type settings struct {
	protections   []Protection
	rulesets      []Ruleset
	collaborators []Collaborator
	pulls         []Pull
	comments      []Comment
}

// Protect protects a branch, which is made where it is missing.
func (s *Server) Protect(p Protection) error {
	if !isRepository(p.Repository) || p.Branch == "" {
		return fmt.Errorf("cannot protect: it needs owner/name and a branch")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings.protections = append(slices.DeleteFunc(s.settings.protections, func(other Protection) bool {
		return strings.EqualFold(other.Repository, p.Repository) && other.Branch == p.Branch
	}), p)
	return nil
}

// SetRuleset makes a ruleset.
func (s *Server) SetRuleset(r Ruleset) error {
	if r.Path == "" || r.Branch == "" {
		return fmt.Errorf("cannot set a ruleset: it needs owner/name or an organisation, and a branch")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Off {
		s.settings.rulesets = slices.DeleteFunc(s.settings.rulesets, func(other Ruleset) bool {
			return strings.EqualFold(other.Path, r.Path) && other.Branch == r.Branch
		})
		return nil
	}
	r.ID = s.nextID()
	s.settings.rulesets = append(s.settings.rulesets, r)
	return nil
}

// SetCollaborator gives an account a role; the role "none" takes it away.
func (s *Server) SetCollaborator(c Collaborator) error {
	if !isRepository(c.Repository) || c.Login == "" || c.Role == "" {
		return fmt.Errorf("cannot set a collaborator: it needs owner/name, a login and a role")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings.collaborators = slices.DeleteFunc(s.settings.collaborators, func(other Collaborator) bool {
		return strings.EqualFold(other.Repository, c.Repository) && strings.EqualFold(other.Login, c.Login)
	})
	if c.Role != "none" {
		s.settings.collaborators = append(s.settings.collaborators, c)
	}
	return nil
}

// OpenPull opens a pull request and returns it with its number.
func (s *Server) OpenPull(p Pull) (Pull, error) {
	if !isRepository(p.Repository) || !isRepository(p.HeadRepository) || p.HeadRef == "" {
		return Pull{}, fmt.Errorf("cannot open a pull request: it needs owner/name, that of its head, and the head's branch")
	}
	if p.BaseRef == "" {
		p.BaseRef = defaultBranch
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Number = len(s.settings.pulls) + 1
	s.settings.pulls = append(s.settings.pulls, p)
	return p, nil
}

// AddComment writes a comment on a pull request.
func (s *Server) AddComment(c Comment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := slices.ContainsFunc(s.settings.pulls, func(p Pull) bool {
		return strings.EqualFold(p.Repository, c.Repository) && p.Number == c.Number
	})
	if !known || c.Author == "" {
		return fmt.Errorf("cannot comment: it needs an author and a pull request; %s has no number %d", c.Repository, c.Number)
	}
	s.settings.comments = append(s.settings.comments, c)
	return nil
}

func isRepository(path string) bool {
	owner, name, ok := strings.Cut(path, "/")
	return ok && owner != "" && name != "" && !strings.Contains(name, "/")
}

func (s *Server) getRepository(c *apiCall) reply {
	path, _ := c.scope()
	return reply{status: http.StatusOK, body: map[string]any{"full_name": path, "default_branch": defaultBranch, "private": false}}
}

// protection returns what protects a branch, and whether the branch is there. The
// lock is held.
func (s *Server) protection(repository, branch string) (found *Protection, known bool) {
	for i, p := range s.settings.protections {
		if strings.EqualFold(p.Repository, repository) && p.Branch == branch {
			if p.Off {
				return nil, true
			}
			return &s.settings.protections[i], true
		}
	}
	return nil, branch == defaultBranch || len(s.rulesOf(repository, branch)) > 0
}

// rulesOf returns the rulesets that are in force for a branch. The lock is held.
func (s *Server) rulesOf(repository, branch string) []Ruleset {
	owner, _, _ := strings.Cut(repository, "/")
	var found []Ruleset
	for _, r := range s.settings.rulesets {
		if r.Branch == branch && (strings.EqualFold(r.Path, repository) || strings.EqualFold(r.Path, owner)) {
			found = append(found, r)
		}
	}
	return found
}

func (s *Server) getBranch(c *apiCall) reply {
	path, _ := c.scope()
	branch := c.PathValue("branch")
	s.mu.Lock()
	defer s.mu.Unlock()
	protection, known := s.protection(path, branch)
	if !known {
		return problem(http.StatusNotFound, "Branch not found")
	}
	protected := protection != nil || len(s.rulesOf(path, branch)) > 0
	return reply{status: http.StatusOK, body: map[string]any{"name": branch, "protected": protected}}
}

func (s *Server) getProtection(c *apiCall) reply {
	path, _ := c.scope()
	s.mu.Lock()
	defer s.mu.Unlock()
	protection, known := s.protection(path, c.PathValue("branch"))
	if !known {
		return problem(http.StatusNotFound, "Branch not found")
	}
	if protection == nil {
		return problem(http.StatusNotFound, "Branch not protected")
	}
	shown := map[string]any{"enforce_admins": map[string]bool{"enabled": true}}
	if protection.Approvals >= 0 {
		reviews := map[string]any{"required_approving_review_count": protection.Approvals, "dismiss_stale_reviews": false}
		if len(protection.Bypass) > 0 {
			reviews["bypass_pull_request_allowances"] = bypassJSON(protection.Bypass)
		}
		shown["required_pull_request_reviews"] = reviews
	}
	return reply{status: http.StatusOK, body: shown}
}

func bypassJSON(bypass []string) map[string]any {
	users, teams, apps := []any{}, []any{}, []any{}
	for _, one := range bypass {
		kind, name, _ := strings.Cut(one, ":")
		switch kind {
		case "user":
			users = append(users, map[string]string{"login": name})
		case "team":
			teams = append(teams, map[string]string{"slug": name, "name": name})
		default:
			apps = append(apps, map[string]string{"slug": name, "name": name})
		}
	}
	return map[string]any{"users": users, "teams": teams, "apps": apps}
}

func (s *Server) listRules(c *apiCall) reply {
	path, _ := c.scope()
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := []map[string]any{}
	for _, r := range s.rulesOf(path, c.PathValue("branch")) {
		source := "Organization"
		if strings.Contains(r.Path, "/") {
			source = "Repository"
		}
		of := map[string]any{"ruleset_id": r.ID, "ruleset_source_type": source, "ruleset_source": r.Path}
		deletion, pull := map[string]any{"type": "deletion"}, map[string]any{"type": "pull_request", "parameters": map[string]any{
			"required_approving_review_count": r.Approvals, "dismiss_stale_reviews_on_push": false,
		}}
		for key, value := range of {
			deletion[key], pull[key] = value, value
		}
		rules = append(rules, deletion, pull)
	}
	some, header := page(c, rules)
	return reply{http.StatusOK, header, some}
}

func (s *Server) getRuleset(c *apiCall) reply {
	_, scope := c.scope()
	id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if err != nil {
		return notFound()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.settings.rulesets {
		if r.ID != id || !strings.EqualFold(r.Path, scope) {
			continue
		}
		shown := map[string]any{"id": r.ID, "name": "reviews of " + r.Branch, "enforcement": "active", "source": r.Path}
		if !r.Hidden {
			actors := []any{}
			for i, kind := range r.Bypass {
				actors = append(actors, map[string]any{"actor_id": i + 1, "actor_type": kind, "bypass_mode": "always"})
			}
			shown["bypass_actors"] = actors
		}
		return reply{status: http.StatusOK, body: shown}
	}
	return notFound()
}

func (s *Server) listCollaborators(c *apiCall) reply {
	_, scope := c.scope()
	s.mu.Lock()
	defer s.mu.Unlock()
	outside := c.URL.Query().Get("affiliation") == "outside"
	all := []map[string]any{}
	for _, one := range s.settings.collaborators {
		if strings.EqualFold(one.Repository, scope) && !(outside && one.Member) {
			all = append(all, map[string]any{"login": one.Login, "role_name": one.Role, "permissions": permissionsOf(one.Role)})
		}
	}
	some, header := page(c, all)
	return reply{http.StatusOK, header, some}
}

// permissionsOf is what GitHub's roles may do; a role of another name may read.
func permissionsOf(role string) map[string]bool {
	may := map[string]bool{}
	rank := max(0, slices.Index([]string{"read", "triage", "write", "maintain", "admin"}, role))
	for i, permission := range []string{"pull", "triage", "push", "maintain", "admin"} {
		may[permission] = i <= rank
	}
	return may
}

// getPermission shows everybody as a reader, as GitHub does of a public
// repository.
func (s *Server) getPermission(c *apiCall) reply {
	_, scope := c.scope()
	login := c.PathValue("login")
	s.mu.Lock()
	defer s.mu.Unlock()
	role := "read"
	for _, one := range s.settings.collaborators {
		if strings.EqualFold(one.Repository, scope) && strings.EqualFold(one.Login, login) {
			role = one.Role
		}
	}
	permission := "read"
	switch may := permissionsOf(role); {
	case may["admin"]:
		permission = "admin"
	case may["push"]:
		permission = "write"
	}
	return reply{status: http.StatusOK, body: map[string]any{"permission": permission, "role_name": role, "user": map[string]string{"login": login}}}
}

func (s *Server) listPulls(c *apiCall) reply {
	_, scope := c.scope()
	query := c.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []map[string]any{}
	for _, p := range s.settings.pulls {
		owner, _, _ := strings.Cut(p.HeadRepository, "/")
		head := query.Get("head")
		switch {
		case !strings.EqualFold(p.Repository, scope), p.Closed && query.Get("state") != "all":
		case head != "" && !strings.EqualFold(head, owner+":"+p.HeadRef):
		default:
			all = append(all, p.json())
		}
	}
	some, header := page(c, all)
	return reply{http.StatusOK, header, some}
}

func (p Pull) json() map[string]any {
	state := "open"
	if p.Closed {
		state = "closed"
	}
	return map[string]any{
		"number": p.Number, "state": state,
		"head": map[string]any{"ref": p.HeadRef, "repo": map[string]any{"full_name": p.HeadRepository}},
		"base": map[string]any{"ref": p.BaseRef, "repo": map[string]any{"full_name": p.Repository}},
	}
}

func (s *Server) listComments(c *apiCall) reply {
	_, scope := c.scope()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []map[string]any{}
	for _, one := range s.settings.comments {
		if strings.EqualFold(one.Repository, scope) && strconv.Itoa(one.Number) == c.PathValue("number") {
			all = append(all, map[string]any{"body": one.Body, "user": map[string]string{"login": one.Author}})
		}
	}
	some, header := page(c, all)
	return reply{http.StatusOK, header, some}
}
