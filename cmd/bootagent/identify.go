package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/aws/autoscaling"
	"github.com/bootagent/bootagent/internal/aws/imds"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
)

// instance is who this instance is, and how it speaks to AWS.
type instance struct {
	id       model.Identity
	session  *session.Session
	metadata *imds.Metadata
}

// identify finds out who this instance is, and with it the region of every call.
func identify(ctx context.Context, region string, spans *timeline.Spans, log *zap.Logger) (*instance, error) {
	s, err := session.Load(ctx, session.Options{Region: region, Version: version, Logger: log})
	if err != nil {
		return nil, err
	}
	// A laptop's instances have one kernel, and so one boot id, which is not theirs.
	metadata := imds.New(s, imds.Options{BootID: os.Getenv("BOOTAGENT_BOOT_ID")})
	done := spans.Begin("identify", 0)
	id, err := metadata.Identity(ctx)
	done(err)
	if err != nil {
		return nil, fmt.Errorf("find out who this instance is: %w", err)
	}
	log.Info("identified", zap.String("instance", id.InstanceID), zap.String("region", id.Region), zap.String("boot", id.BootID))
	if s.Config.Region == "" {
		s = s.In(id.Region)
	}
	return &instance{id: id, session: s, metadata: metadata}, nil
}

// The instance enters Pending:Wait, where the hook can be completed, some
// moments after it was launched; a broken configuration is found out sooner.
const (
	pendingPatience = 2 * time.Minute
	pendingPause    = time.Second
)

// abandon completes this instance's launch hook with ABANDON, and gives the hook's name; "" where none is open.
func abandon(ctx context.Context) (hook string, err error) {
	self, err := identify(ctx, "", timeline.New(nil), zap.NewNop())
	if err != nil {
		return "", err
	}
	group := autoscaling.New(self.session)
	m, err := group.Membership(ctx, self.id.InstanceID)
	for deadline := time.Now().Add(pendingPatience); err == nil && m.Lifecycle == model.LifecyclePending && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-time.After(pendingPause):
		}
		m, err = group.Membership(ctx, self.id.InstanceID)
	}
	if err != nil || m.Lifecycle != model.LifecyclePendingWait || m.LaunchHook == "" {
		return "", err
	}
	return m.LaunchHook, group.Complete(ctx, m, self.id.InstanceID, model.HookAbandon)
}
