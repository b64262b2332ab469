package elbv2

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// soon is a generous deadline for what takes milliseconds on an idle machine.
const soon = 20 * time.Second

// running are the instances that run, by their addresses.
type running struct {
	mu sync.Mutex
	at map[string]string
}

func instances(ids ...string) *running {
	r := &running{at: map[string]string{}}
	for _, id := range ids {
		r.at[id] = "127.0.0.1"
	}
	return r
}

func (r *running) Address(id string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	host, ok := r.at[id]
	return host, ok
}

func (r *running) stop(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, id)
}

func closeService(t *testing.T, s *Service) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// silence is a listener to which nobody ever connects; it works inside a synctest bubble.
type silence chan struct{}

func (s silence) Accept() (net.Conn, error) { <-s; return nil, net.ErrClosed }
func (s silence) Close() error {
	select {
	case <-s:
	default:
		close(s)
	}
	return nil
}
func (s silence) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8000} }

// must fails the test on an error.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func code(err error) string {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// state is a target's state and reason.
func state(t *testing.T, s *Service, group, instance string, port int) string {
	t.Helper()
	found, err := s.describe(group, []targetKey{{instance, port}})
	if err != nil {
		t.Fatal(err)
	}
	d := found[0]
	if d.reason == "" {
		return string(d.state)
	}
	return string(d.state) + " " + d.reason
}
