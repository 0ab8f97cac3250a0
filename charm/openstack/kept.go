package openstack

import "context"

// kept is a value that is made when it is first asked for, by one caller while the
// others wait, and kept unless that fails.
type kept[T any] struct {
	// turn holds one element while nobody works on the value.
	turn chan *T
}

func newKept[T any]() kept[T] {
	k := kept[T]{turn: make(chan *T, 1)}
	k.turn <- nil
	return k
}

// get returns the value, made by make where there is none yet.
func (k kept[T]) get(ctx context.Context, make func(context.Context) (T, error)) (T, error) {
	return k.use(ctx, func(value *T) (*T, error) {
		if value != nil {
			return value, nil
		}
		made, err := make(ctx)
		return &made, err
	})
}

// renew makes the value anew, whether or not there is one.
func (k kept[T]) renew(ctx context.Context, make func(context.Context) (T, error)) (T, error) {
	return k.use(ctx, func(*T) (*T, error) {
		made, err := make(ctx)
		return &made, err
	})
}

// forget drops the value.
func (k kept[T]) forget() {
	<-k.turn
	k.turn <- nil
}

func (k kept[T]) use(ctx context.Context, work func(*T) (*T, error)) (result T, err error) {
	var value *T
	select {
	case value = <-k.turn:
	case <-ctx.Done():
		return result, context.Cause(ctx)
	}
	value, err = work(value)
	if err != nil {
		k.turn <- nil
		return result, err
	}
	k.turn <- value
	return *value, nil
}
