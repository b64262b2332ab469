// Command demo shows bootagent at work on this laptop, by itself: a fleet
// boots from a real git repository, a new release takes over under load, a bad
// one is reverted, an instance is killed and replaced. Its last line counts
// the requests; it exits with 1 if one was lost that should not have been.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/timeline"
	"github.com/bootagent/bootagent/internal/trial"
)

const (
	instances = 3
	patience  = 90 * time.Second // for each act
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is what the acts share.
type demo struct {
	*trial.Trial
	app      *app
	load     *load
	started  time.Time
	launched map[string]bool
	releases int64
}

func run(ctx context.Context) (err error) {
	bin, err := filepath.Abs("bin/bootagent")
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("there is no bin/bootagent; run it as `make demo`: %w", err)
	}
	app, err := newApp(ctx, "examples/hello")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.remove()) }()
	d := &demo{app: app, started: time.Now(), launched: map[string]bool{}}
	d.load = newLoad()
	d.Trial, err = trial.Start(ctx, trial.Options{
		Agent: bin, Repository: app.dir, App: "hello", Instances: instances, Listen: "127.0.0.1:0",
		Check: elbv2.HealthCheck{Path: "/up"}, OnFailure: d.load.balancerFailed,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()

	for _, act := range []func(context.Context) error{d.boots, d.takesARelease, d.revertsABadOne, d.replacesAnInstance} {
		limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("this act took longer than %s", patience))
		err := act(limited)
		cancel()
		if err != nil {
			d.load.stop()
			d.explain(ctx)
			return err
		}
	}
	return d.summary()
}

// boots: a fleet of new instances comes into service through its launch hooks.
func (d *demo) boots(ctx context.Context) error {
	d.say("1. %d new instances boot from %s", instances, d.Repo)
	if err := d.release(ctx, "1.0.0"); err != nil {
		return err
	}
	if err := d.Launch(); err != nil {
		return err
	}
	if err := d.until(ctx, "in service through their launch hooks", func(s agent.Status) bool {
		return s.InService.Number == 1 && s.Group.Lifecycle == model.LifecycleInService
	}); err != nil {
		return err
	}
	d.timelines(ctx, 1)
	d.load.start(d.URL())
	return nil
}

// takesARelease: the whole fleet hands over to a new release under load.
func (d *demo) takesARelease(ctx context.Context) error {
	d.say("2. a new release takes over, under load")
	if err := d.release(ctx, "2.0.0"); err != nil {
		return err
	}
	if err := d.until(ctx, "serving release 2, the old one drained and gone", func(s agent.Status) bool {
		return s.InService.Number == 2 && len(s.Doing) == 0
	}); err != nil {
		return err
	}
	d.timelines(ctx, 2)
	d.load.report()
	return nil
}

// revertsABadOne: a release that fails its checks never gets a request.
func (d *demo) revertsABadOne(ctx context.Context) error {
	d.say("3. a release that fails its checks is reverted")
	if err := d.release(ctx, ""); err != nil {
		return err
	}
	if err := d.until(ctx, "back on release 2, which never stopped serving", func(s agent.Status) bool {
		return s.State == "reverted" && s.InService.Number == 2 && len(s.Doing) == 0
	}); err != nil {
		return err
	}
	for _, i := range d.Instances()[:1] {
		if s, ok := i.Status(ctx); ok && len(s.Failed) > 0 {
			fmt.Printf("   %s says why: %s\n", i.ID, strings.ReplaceAll(s.Failed[0].Reason, "\n", "\n     "))
		}
	}
	d.timelines(ctx, 3)
	d.load.report()
	return nil
}

// replacesAnInstance: one dies without notice, and Auto Scaling launches another.
func (d *demo) replacesAnInstance(ctx context.Context) error {
	victim := d.Instances()[0]
	d.say("4. %s dies without notice and is replaced", victim.ID)
	machine, ok := d.Machines.Machine(victim.ID)
	if !ok {
		return fmt.Errorf("instance %s does not run any more", victim.ID)
	}
	d.load.killed(victim.ID)
	if err := machine.Kill(); err != nil {
		return err
	}
	if err := d.until(ctx, "in service again, the new one on the stable release", func(s agent.Status) bool {
		return s.Identity.InstanceID != victim.ID && s.InService.Number == 2 && s.State == "reverted" && len(s.Doing) == 0
	}); err != nil {
		return err
	}
	for _, i := range d.Instances() {
		if s, ok := i.Status(ctx); ok && len(s.Timeline) > 0 && s.Started.After(d.load.killedAt()) {
			fmt.Printf("   its replacement %s\n", i.ID)
			timeline.Draw(indented{os.Stdout}, s.Timeline, s.At)
		}
	}
	return nil
}

// release commits and tags a version of the app and puts its tag, showing the
// line that a person would type. An empty version is one that fails its checks.
func (d *demo) release(ctx context.Context, version string) error {
	d.releases++
	tag := fmt.Sprintf("v%d", d.releases)
	if err := d.app.release(ctx, version, tag); err != nil {
		return err
	}
	fmt.Printf("   $ %s\n", d.PutCommand(tag))
	_, err := d.Put(ctx, tag)
	return err
}

// until waits until as many instances as there should be are as wanted.
func (d *demo) until(ctx context.Context, what string, wanted func(agent.Status) bool) error {
	began := time.Now()
	for {
		count := 0
		for _, i := range d.Instances() {
			d.launched[i.ID] = true
			if s, ok := i.Status(ctx); ok && wanted(s) {
				count++
			}
		}
		if count == instances {
			fmt.Printf("   %d instances %s after %.1fs\n", count, what, time.Since(began).Seconds())
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d instances are %s: %w", count, instances, what, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// timelines draws each instance's way with one release.
func (d *demo) timelines(ctx context.Context, release int64) {
	for _, i := range d.Instances() {
		s, ok := i.Status(ctx)
		if !ok {
			continue
		}
		var spans []timeline.Span
		for _, span := range s.Timeline {
			if span.Release == release {
				spans = append(spans, span)
			}
		}
		fmt.Printf("   %s\n", i.ID)
		timeline.Draw(indented{os.Stdout}, spans, s.At)
	}
}

// explain shows what every instance says of itself when an act failed.
func (d *demo) explain(ctx context.Context) {
	for _, i := range d.Instances() {
		s, ok := i.Status(context.WithoutCancel(ctx))
		fmt.Printf("   %s answers=%v state=%s in service=%s doing=%v problems=%v\n", i.ID, ok, s.State, s.InService, s.Doing, s.Problems)
	}
}

func (d *demo) summary() error {
	requests, failed, lost := d.load.stop()
	fmt.Printf("\ndemo: instances=%d releases=%d requests=%d failed=%d lost=%d\n", len(d.launched), d.releases, requests, failed, lost)
	if failed > 0 {
		return fmt.Errorf("%d requests failed in planned changes: %s", failed, d.load.why())
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Printf("\n[%5.1fs] "+format+"\n", append([]any{time.Since(d.started).Seconds()}, args...)...)
}
