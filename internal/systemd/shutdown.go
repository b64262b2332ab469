package systemd

import (
	"context"
	"fmt"
	"os"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

// ShuttingDown says whether the machine goes down: systemd is in the state "stopping" once a shutdown, a reboot or a
// power-off was asked for, and so when it stops this process for that. Where systemd did not start this process
// (no NOTIFY_SOCKET) there is nobody to ask, and the answer is no. It gives up after 30 s.
// https://www.freedesktop.org/software/systemd/man/latest/systemctl.html#is-system-running
func ShuttingDown(ctx context.Context) (bool, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return false, nil
	}
	return stopping(ctx)
}

func stopping(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := bus{ctx: ctx}
	defer b.close()
	var state *sd.Property
	err := b.call(ctx, func(ctx context.Context, c *conn) (err error) {
		state, err = c.SystemStateContext(ctx)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("ask systemd whether the machine goes down: %w", err)
	}
	word, ok := state.Value.Value().(string)
	if !ok {
		return false, fmt.Errorf("ask systemd whether the machine goes down: its state is %s, which is no word", state.Value.String())
	}
	return word == "stopping", nil
}
