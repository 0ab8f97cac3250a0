package lxd

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/canonical/lxd/shared/api"
)

// operationKept is how long a finished operation can still be asked for.
const operationKept = 5 * time.Second

// operations are the asynchronous tasks of one run of the daemon.
type operations struct {
	events *hub

	mu     sync.Mutex
	byID   map[string]*operation
	ctx    context.Context
	cancel context.CancelFunc
}

func newOperations(events *hub) *operations {
	o := &operations{events: events, byID: make(map[string]*operation)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// operation is one task.
type operation struct {
	done chan struct{}

	mu    sync.Mutex
	shown api.Operation
}

// work is what an operation does: it returns the operation's metadata.
type work func(ctx context.Context) (map[string]any, error)

// begin starts a task. Its context ends when the daemon restarts.
func (o *operations) begin(description string, resources map[string][]string, do work) *operation {
	return o.start(description, resources, func(ctx context.Context, _ func(map[string]any)) (map[string]any, error) { return do(ctx) })
}

// start is begin for a task that tells how far it is, as the operation's metadata.
func (o *operations) start(description string, resources map[string][]string, do func(ctx context.Context, tell func(map[string]any)) (map[string]any, error)) *operation {
	now := time.Now().UTC()
	op := &operation{done: make(chan struct{}), shown: api.Operation{
		ID: newUUID(), Class: "task", Description: description,
		CreatedAt: now, UpdatedAt: now,
		Status: api.Pending.String(), StatusCode: api.Pending,
		Resources: resources, Location: "none",
	}}
	o.mu.Lock()
	ctx := o.ctx
	o.byID[op.shown.ID] = op
	o.mu.Unlock()
	o.events.operation(op.show())
	op.set(api.Running, nil, "")
	o.events.operation(op.show())
	tell := func(metadata map[string]any) {
		op.set(api.Running, metadata, "")
		o.events.operation(op.show())
	}
	go o.run(ctx, op, func(ctx context.Context) (map[string]any, error) { return do(ctx, tell) })
	return op
}

func (o *operations) run(ctx context.Context, op *operation, do work) {
	metadata, err := do(ctx)
	if ctx.Err() != nil {
		return // the daemon that would have told of the end is gone
	}
	if err != nil {
		op.set(api.Failure, metadata, err.Error())
	} else {
		op.set(api.Success, metadata, "")
	}
	o.events.operation(op.show())
	close(op.done)
	time.AfterFunc(operationKept, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.byID, op.show().ID)
	})
}

// reset forgets all operations, as a daemon does that restarts.
func (o *operations) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cancel()
	o.ctx, o.cancel = context.WithCancel(context.Background())
	clear(o.byID)
}

func (op *operation) set(status api.StatusCode, metadata map[string]any, failure string) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.shown.Status, op.shown.StatusCode = status.String(), status
	op.shown.Err = failure
	if metadata != nil {
		op.shown.Metadata = metadata
		op.shown.UpdatedAt = time.Now().UTC()
	}
}

func (op *operation) show() api.Operation {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.shown
}

func (o *operations) get(r *http.Request) (*operation, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	op := o.byID[r.PathValue("id")]
	if op == nil {
		return nil, notFound("Operation")
	}
	return op, nil
}

func (s *Server) getOperations(r *http.Request) (answer, error) {
	s.operations.mu.Lock()
	defer s.operations.mu.Unlock()
	full := recursion(r) == "1"
	lists := make(map[string][]any)
	for id, op := range s.operations.byID {
		shown := op.show()
		key := statusKeys[shown.StatusCode]
		if full {
			lists[key] = append(lists[key], shown)
		} else {
			lists[key] = append(lists[key], "/1.0/operations/"+id)
		}
	}
	return answer{metadata: lists}, nil
}

var statusKeys = map[api.StatusCode]string{
	api.Pending: "pending",
	api.Running: "running",
	api.Success: "success",
	api.Failure: "failure",
}

func (s *Server) getOperation(r *http.Request) (answer, error) {
	op, err := s.operations.get(r)
	if err != nil {
		return answer{}, err
	}
	return answer{metadata: op.show()}, nil
}

// waitOperation answers when the operation has ended or the timeout (in
// seconds, -1 for none) has passed, with the operation as it then is.
func (s *Server) waitOperation(r *http.Request) (answer, error) {
	op, err := s.operations.get(r)
	if err != nil {
		return answer{}, err
	}
	timeout := -1
	if text := r.URL.Query().Get("timeout"); text != "" {
		if timeout, err = strconv.Atoi(text); err != nil {
			return answer{}, err
		}
	}
	ctx := r.Context()
	if timeout >= 0 {
		bounded, cancel := context.WithTimeout(ctx, time.Duration(timeout)*time.Second)
		defer cancel()
		ctx = bounded
	}
	select {
	case <-op.done:
	case <-ctx.Done():
	}
	return answer{metadata: op.show()}, nil
}

func (s *Server) deleteOperation(r *http.Request) (answer, error) {
	op, err := s.operations.get(r)
	if err != nil {
		return answer{}, err
	}
	if op.show().StatusCode != api.Running {
		return answer{}, refuse(http.StatusBadRequest, "Only running operations can be cancelled")
	}
	return answer{}, refuse(http.StatusBadRequest, "This operation can't be cancelled")
}
