package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// socket is where systemd itself speaks D-Bus, to root alone: it needs no bus daemon, and is what systemctl uses.
const socket = "unix:path=/run/systemd/private"

const (
	// callPatience is for one answer of systemd: it answers within milliseconds, but reloads all units in between when told to.
	callPatience = 30 * time.Second
	// jobPatience is for starting or stopping what needs no grace; systemd's own limit for a start is 90 s.
	jobPatience = 2 * time.Minute
	// lostInterval is how often a wait for a job looks whether it still can be told its end.
	lostInterval = time.Second
)

// bus is the connection to systemd. It is made anew where it was lost: systemd drops it when it executes itself anew,
// which an upgrade of it does.
type bus struct {
	ctx context.Context // the Runner's lifetime, which bounds the connection's

	mu   sync.Mutex
	conn *conn
}

// conn is one connection: what go-systemd wraps, and what it wraps it in.
type conn struct {
	*sd.Conn
	raw dbus.BusObject // systemd's manager, for the one method that go-systemd lacks
}

func (b *bus) get() (*conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
	var raw *dbus.Conn
	wrapped, err := sd.NewConnection(func() (*dbus.Conn, error) {
		c, err := dbus.Dial(socket, dbus.WithContext(b.ctx))
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		if raw == nil { // the first is for calls, the second for signals
			raw = c
		}
		return c, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to systemd at %s (is it this machine's init, and is this root?): %w", socket, err)
	}
	b.conn = &conn{Conn: wrapped, raw: raw.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")}
	return b.conn, nil
}

func (b *bus) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}

// call calls systemd, with a deadline.
func (b *bus) call(ctx context.Context, do func(context.Context, *conn) error) error {
	c, err := b.get()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callPatience, fmt.Errorf("systemd gave no answer within %s", callPatience))
	defer cancel()
	err = do(ctx, c)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// jobError is a job of systemd's that did not end well.
type jobError struct{ result string }

func (e *jobError) Error() string { return "systemd's job ended as " + strconv.Quote(e.result) }

// job begins a job and waits for its end. One that did not end with "done" is a *jobError.
func (b *bus) job(ctx context.Context, begin func(context.Context, *conn, chan<- string) error) error {
	c, err := b.get()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, jobPatience, fmt.Errorf("systemd did not finish the job within %s", jobPatience))
	defer cancel()
	result := make(chan string, 1) // go-systemd sends while it holds a lock: nobody may keep it waiting
	if err := begin(ctx, c, result); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	look := time.NewTicker(lostInterval)
	defer look.Stop()
	for {
		select {
		case got := <-result:
			if got != "done" {
				return &jobError{got}
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
			if !c.Connected() {
				return errors.New("the connection to systemd was lost before its job ended: try again")
			}
		}
	}
}

// isNoUnit says whether systemd does not know the unit (any more).
func isNoUnit(err error) bool {
	var known dbus.Error
	return errors.As(err, &known) && known.Name == "org.freedesktop.systemd1.NoSuchUnit"
}
