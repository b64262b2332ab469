package main

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/systemd"
)

// stuck is how long the agent's loop may take for one turn before it counts
// as dead. A turn is due every second, and its looks are bounded by ten.
const stuck = time.Minute

// announce tells systemd that the agent is READY once its loop runs, what it
// does, and that it is alive, until ctx ends. A boot in progress is a STATUS:
// READY does not wait for it. Where systemd did not start the agent it does nothing.
func announce(ctx context.Context, status func() agent.Status, log *zap.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return systemd.Watchdog(ctx, func() bool {
			at := status().At
			return at.IsZero() || time.Since(at) < stuck // before the first turn, systemd's own start time-out holds
		})
	})
	group.Go(func() error {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		ready, last := false, ""
		for {
			s := status()
			if !ready && !s.At.IsZero() {
				if err := systemd.Ready(); err != nil {
					return err
				}
				ready = true
			}
			if text := oneLine(s); ready && text != last {
				last = text
				if err := systemd.Status(text); err != nil {
					log.Warn("systemd was not told the status", zap.Error(err))
				}
			}
			select {
			case <-ctx.Done():
				return systemd.Stopping()
			case <-ticker.C:
			}
		}
	})
	return group.Wait()
}

// oneLine is the status as `systemctl status` shows it.
func oneLine(s agent.Status) string {
	text := strings.ReplaceAll(s.State, "_", " ")
	if !s.InService.IsZero() {
		text += ": " + s.InService.String()
	}
	if !s.Deploying.IsZero() {
		text += ", deploying " + s.Deploying.String()
	}
	return text
}
