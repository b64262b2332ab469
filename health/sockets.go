package health

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/unit"
)

// ErrNotListening is an app that does not listen on anything yet.
var ErrNotListening = errors.New("it does not listen on any port yet")

// PortError is an app that does not listen where it was told to. Waiting rarely helps.
type PortError struct {
	Port   int   // what it was told: PORT
	Others []int // what it listens on instead, in ascending order
	// Foreign says that a process that is not the app's listens on Port.
	Foreign bool
}

func (e *PortError) Error() string {
	if e.Foreign {
		return fmt.Sprintf("port %d, which it was given as PORT, is taken by a process that is not its own: end that process, or take the port out of the configured range", e.Port)
	}
	ports := make([]string, 0, len(e.Others))
	for _, p := range e.Others {
		ports = append(ports, strconv.Itoa(p))
	}
	return fmt.Sprintf("it listens on %s, not on PORT=%d: the app must listen on the port that is in the environment variable PORT", strings.Join(ports, " and "), e.Port)
}

// DiagnoseSockets says whether the app listens where it was told to: nil when it does, a *PortError when it listens elsewhere or when the port
// is foreign (a process that is not the app's listens there), ErrNotListening when it listens on nothing yet.
func DiagnoseSockets(port int, s unit.Sockets, foreign bool) error {
	switch {
	case s.Owned:
		return nil
	case foreign:
		return &PortError{Port: port, Others: s.Others, Foreign: true}
	case len(s.Others) > 0:
		return &PortError{Port: port, Others: s.Others}
	}
	return fmt.Errorf("%w, and should on PORT=%d", ErrNotListening, port)
}

// Lasting makes a check that fails only once the given one has failed for that long without a pass in between. An app that
// opens a port for its metrics a moment before its own has not ignored PORT. The check is not for concurrent use.
func Lasting(d time.Duration, check func(ctx context.Context) error) func(ctx context.Context) error {
	var since time.Time
	return func(ctx context.Context) error {
		err := check(ctx)
		switch {
		case err == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		if err != nil && time.Since(since) >= d {
			return err
		}
		return nil
	}
}
