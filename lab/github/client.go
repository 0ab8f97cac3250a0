package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
)

// Client gives orders to a lab's GitHub over its control socket.
type Client struct {
	socket string
	client *http.Client
}

// Dial returns a client for a control socket. It makes no call.
func Dial(socket string) *Client {
	return &Client{
		socket: socket,
		client: &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		}},
	}
}

// Queue puts jobs into the queue.
func (c *Client) Queue(ctx context.Context, request JobRequest) ([]JobInfo, error) {
	return ask[[]JobInfo](ctx, c, http.MethodPost, "/jobs", request)
}

// End ends jobs before their time; no ids are all jobs.
func (c *Client) End(ctx context.Context, ids []int64, conclusion string) ([]JobInfo, error) {
	return ask[[]JobInfo](ctx, c, http.MethodPost, "/jobs/end", endRequest{ids, conclusion})
}

// Jobs returns all jobs, oldest first.
func (c *Client) Jobs(ctx context.Context) ([]JobInfo, error) {
	return ask[[]JobInfo](ctx, c, http.MethodGet, "/jobs", nil)
}

// Runners returns all runners, oldest first.
func (c *Client) Runners(ctx context.Context) ([]RunnerInfo, error) {
	return ask[[]RunnerInfo](ctx, c, http.MethodGet, "/runners", nil)
}

// Calls returns the number of calls per endpoint.
func (c *Client) Calls(ctx context.Context) ([]Calls, error) {
	return ask[[]Calls](ctx, c, http.MethodGet, "/calls", nil)
}

// ResetCalls starts counting anew.
func (c *Client) ResetCalls(ctx context.Context) error {
	return c.order(ctx, http.MethodDelete, "/calls", nil, nil)
}

// AddFault lets something go wrong from now on.
func (c *Client) AddFault(ctx context.Context, fault Fault) (Fault, error) {
	return ask[Fault](ctx, c, http.MethodPost, "/faults", fault)
}

// Faults returns those in force.
func (c *Client) Faults(ctx context.Context) ([]Fault, error) {
	return ask[[]Fault](ctx, c, http.MethodGet, "/faults", nil)
}

// ClearFaults ends one fault, or with id 0 all of them.
func (c *Client) ClearFaults(ctx context.Context, id int) error {
	path := "/faults"
	if id != 0 {
		path += "/" + strconv.Itoa(id)
	}
	return c.order(ctx, http.MethodDelete, path, nil, nil)
}

// AddGroup makes a runner group of an organisation.
func (c *Client) AddGroup(ctx context.Context, organization, name string) (Group, error) {
	return ask[Group](ctx, c, http.MethodPost, "/groups", groupRequest{organization, name})
}

// RemoveGroup removes a runner group of an organisation.
func (c *Client) RemoveGroup(ctx context.Context, organization, name string) error {
	return c.order(ctx, http.MethodPost, "/groups/remove", groupRequest{organization, name}, nil)
}

// AddApp makes a GitHub App that is installed at an account, or everywhere.
func (c *Client) AddApp(ctx context.Context, account string) (App, error) {
	return ask[App](ctx, c, http.MethodPost, "/apps", appRequest{Account: account})
}

// Apps returns all Apps, oldest first, without their keys.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	return ask[[]App](ctx, c, http.MethodGet, "/apps", nil)
}

// SuspendApp suspends an App's installation, or ends that.
func (c *Client) SuspendApp(ctx context.Context, clientID string, suspended bool) error {
	return c.order(ctx, http.MethodPost, "/apps/suspend", appRequest{ClientID: clientID, Suspended: suspended}, nil)
}

// ExpireTokens ends the tokens that an App's installation has.
func (c *Client) ExpireTokens(ctx context.Context, clientID string) error {
	return c.order(ctx, http.MethodPost, "/apps/expire", appRequest{ClientID: clientID}, nil)
}

// Protect protects a branch.
func (c *Client) Protect(ctx context.Context, protection Protection) error {
	return c.order(ctx, http.MethodPost, "/protections", protection, nil)
}

// SetRuleset makes a ruleset, or removes those of a branch.
func (c *Client) SetRuleset(ctx context.Context, ruleset Ruleset) error {
	return c.order(ctx, http.MethodPost, "/rulesets", ruleset, nil)
}

// SetCollaborator gives an account a role in a repository.
func (c *Client) SetCollaborator(ctx context.Context, collaborator Collaborator) error {
	return c.order(ctx, http.MethodPost, "/collaborators", collaborator, nil)
}

// OpenPull opens a pull request and returns it with its number.
func (c *Client) OpenPull(ctx context.Context, pull Pull) (Pull, error) {
	return ask[Pull](ctx, c, http.MethodPost, "/pulls", pull)
}

// AddComment writes a comment on a pull request.
func (c *Client) AddComment(ctx context.Context, comment Comment) error {
	return c.order(ctx, http.MethodPost, "/comments", comment, nil)
}

// Wait blocks until a condition holds.
func (c *Client) Wait(ctx context.Context, condition Condition) error {
	return c.order(ctx, http.MethodPost, "/wait", condition, nil)
}

func ask[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var result T
	err := c.order(ctx, method, path, body, &result)
	return result, err
}

// withoutURL strips the method and URL that net/http puts before an error.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func (c *Client) order(ctx context.Context, method, path string, body, result any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("cannot order: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://github"+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("cannot order: %w", err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot reach the lab's GitHub at %s: %w; is the lab up?", c.socket, withoutURL(err))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("cannot read the lab's GitHub: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		var refused refusalJSON
		if json.Unmarshal(answer, &refused) == nil && refused.Error != "" {
			return errors.New(refused.Error)
		}
		return fmt.Errorf("the lab's GitHub answers %s", response.Status)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("cannot read the lab's GitHub: %w", err)
	}
	return nil
}
