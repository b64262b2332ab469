package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/bootagent/bootagent/internal/unit"
)

// Ready tells the systemd that started this process that it is ready (Type=notify). Where systemd did not start it this,
// Status and Stopping do nothing: sd_notify(3).
func Ready() error { return notify(daemon.SdNotifyReady) }

// Stopping tells systemd that this process is about to end.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// Status tells systemd in one line what this process does; systemctl status shows it.
func Status(text string) error { return notify("STATUS=" + unit.CleanLine(text, maxStatus)) }

// maxStatus is how many bytes of a status are told.
const maxStatus = 300

// Watchdog tells systemd that this process is alive, twice in every WatchdogSec, as long as alive says so, and until ctx
// ends. It returns at once, with nil, where systemd keeps no watchdog on this process. alive must return soon.
func Watchdog(ctx context.Context, alive func() bool) error {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read systemd's watchdog interval: %w", err)
	}
	if limit <= 0 {
		return nil
	}
	tick := time.NewTicker(limit / 2) // as sd_watchdog_enabled(3) recommends
	defer tick.Stop()
	for {
		if alive() {
			if err := notify(daemon.SdNotifyWatchdog); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("tell systemd how this process is: %w", err)
	}
	return nil
}
