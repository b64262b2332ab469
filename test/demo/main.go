// Command demo shows bootagent at work on this laptop, by itself: a fleet
// boots from a real git repository; `bootagent deploy` rolls a new release over
// it under load, by a canary, batches and bakes, while one more instance
// launches; a release that fails its checks, and one whose health turns bad
// while it bakes, are rolled back; an instance is killed and replaced. Its last line counts
// the requests; it exits with 1 if one was lost that should not have been.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	instances = 4                 // a fifth is launched in the middle
	patience  = 240 * time.Second // for each act
	// policy has a canary, and then two instances at a time, so that there is something to be seen.
	policy = "{canary: 1, bake: 6s, batch: 50%, min_healthy_time: 1s}"
	// unwellAfter lets a release's health turn bad when the canary's bake is over, and grace is how long that is watched.
	unwellAfter = "16s"
	grace       = 5 * time.Second
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
	bin      string
	wanted   int // how many instances there should be
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
	d := &demo{app: app, bin: bin, wanted: instances, started: time.Now(), launched: map[string]bool{}}
	d.load = newLoad()
	d.Trial, err = trial.Start(ctx, trial.Options{
		Agent: bin, Repository: app.dir, App: "hello", Instances: instances, Listen: "127.0.0.1:0",
		Check: elbv2.HealthCheck{Path: "/up"}, OnFailure: d.load.balancerFailed, Policy: policy, UnhealthyGrace: grace,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()

	for _, act := range []func(context.Context) error{d.boots, d.takesARelease, d.stopsABadOneAtItsCanary, d.rollsBackWhatTurnsBad, d.replacesAnInstance} {
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
	d.say("1. %d new instances boot the first release ever from %s", instances, d.Repo)
	if err := d.commit(ctx, "1.0.0"); err != nil {
		return err
	}
	fmt.Printf("   $ %s\n", d.PutCommand("v1"))
	if _, err := d.Put(ctx, "v1"); err != nil {
		return err
	}
	if err := d.Launch(ctx); err != nil {
		return err
	}
	if err := d.until(ctx, "in service through their launch hooks, and release 1 is stable", func(s agent.Status) bool {
		return s.InService.Number == 1 && s.Group.Lifecycle == model.LifecycleInService && s.Stable.Number == 1
	}); err != nil {
		return err
	}
	d.timelines(ctx, 1)
	d.load.start(d.URL())
	return nil
}

// takesARelease: the whole fleet hands over to a new release under load, and so does an instance that launches meanwhile.
func (d *demo) takesARelease(ctx context.Context) error {
	d.say("2. a new release goes over the fleet, under load, and one more instance launches in the middle")
	if err := d.commit(ctx, "2.0.0"); err != nil {
		return err
	}
	late := make(chan error, 1)
	if err := d.deploy(ctx, 0, func() { late <- d.launchesLate(ctx) }); err != nil {
		return err
	}
	if err := <-late; err != nil {
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

// launchesLate launches one more instance once a rollout has its canary, and sees what it serves first.
func (d *demo) launchesLate(ctx context.Context) error {
	before := map[string]bool{}
	for _, i := range d.Instances() {
		before[i.ID] = true
	}
	if err := d.untilOne(ctx, func(i *trial.Instance, s agent.Status) bool { return s.InService.Number == d.releases }); err != nil {
		return fmt.Errorf("wait for the canary: %w", err)
	}
	d.wanted++
	if err := d.Resize(ctx, d.wanted); err != nil {
		return err
	}
	first := int64(0)
	err := d.untilOne(ctx, func(i *trial.Instance, s agent.Status) bool {
		if !before[i.ID] && first == 0 {
			first = s.InService.Number
		}
		return first != 0
	})
	if err == nil && first != d.releases-1 {
		err = fmt.Errorf("an instance that launched in mid-rollout came into service on release %d, and stable is %d", first, d.releases-1)
	}
	if err == nil {
		fmt.Printf("   launched in mid-rollout: it serves release %d, which is stable, first\n", first)
	}
	return err
}

// stopsABadOneAtItsCanary: a release that fails its checks never gets a request, and only one instance ever tries it.
func (d *demo) stopsABadOneAtItsCanary(ctx context.Context) error {
	d.say("3. a release that fails its checks ends at its canary")
	if err := d.commit(ctx, ""); err != nil {
		return err
	}
	if err := d.deploy(ctx, 3, nil); err != nil {
		return err
	}
	if err := d.until(ctx, "on release 2, which never stopped serving", func(s agent.Status) bool {
		return s.InService.Number == 2 && len(s.Doing) == 0
	}); err != nil {
		return err
	}
	d.load.report()
	return nil
}

// rollsBackWhatTurnsBad: a release is well at first. When its health turns bad, the fleet goes back by itself.
func (d *demo) rollsBackWhatTurnsBad(ctx context.Context) error {
	d.say("4. a release whose health turns bad, while it still answers, is rolled back over the fleet")
	if err := d.app.unwell(unwellAfter); err != nil {
		return err
	}
	if err := d.commit(ctx, "4.0.0"); err != nil {
		return err
	}
	if err := d.deploy(ctx, 3, nil); err != nil {
		return err
	}
	if err := d.until(ctx, "back on release 2", func(s agent.Status) bool {
		return s.InService.Number == 2 && len(s.Doing) == 0
	}); err != nil {
		return err
	}
	d.load.report()
	return nil
}

// replacesAnInstance: one dies without notice, and Auto Scaling launches another.
func (d *demo) replacesAnInstance(ctx context.Context) error {
	victim := d.Instances()[0]
	d.say("5. %s dies without notice and is replaced", victim.ID)
	machine, ok := d.Machines.Machine(victim.ID)
	if !ok {
		return fmt.Errorf("instance %s does not run any more", victim.ID)
	}
	d.load.killed(victim.ID)
	if err := machine.Kill(); err != nil {
		return err
	}
	if err := d.until(ctx, "in service again, the new one on the stable release", func(s agent.Status) bool {
		return s.Identity.InstanceID != victim.ID && s.InService.Number == 2 && s.Group.Lifecycle == model.LifecycleInService && len(s.Doing) == 0
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

// commit commits and tags a version of the app. An empty version is one that fails its checks.
func (d *demo) commit(ctx context.Context, version string) error {
	d.releases++
	return d.app.release(ctx, version, fmt.Sprintf("v%d", d.releases))
}

// deploy runs bootagent deploy as a person does, shows what it says, and wants it to exit so. Meanwhile is run beside it; nil for nothing.
func (d *demo) deploy(ctx context.Context, wanted int, meanwhile func()) error {
	ref := fmt.Sprintf("v%d", d.releases)
	fmt.Printf("   $ bootagent deploy %s\n", ref)
	command := exec.CommandContext(ctx, d.bin, "deploy", ref, "-m", "shown by the demo")
	command.Env = append(os.Environ(), d.Environment()...)
	command.Env = append(command.Env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	out := &lines{prefix: "   | "}
	command.Stdout, command.Stderr = out, out
	if meanwhile != nil {
		go meanwhile()
	}
	err := command.Run()
	var exit *exec.ExitError
	code := 0
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return err
	}
	if code != wanted {
		return fmt.Errorf("bootagent deploy %s exited with %d, not with %d", ref, code, wanted)
	}
	fmt.Printf("   exit code %d\n", code)
	return nil
}

// lines prints whole lines, each after a prefix.
type lines struct {
	prefix, rest string
}

func (l *lines) Write(data []byte) (int, error) {
	l.rest += string(data)
	for {
		line, rest, whole := strings.Cut(l.rest, "\n")
		if !whole {
			return len(data), nil
		}
		l.rest = rest
		fmt.Println(l.prefix + line)
	}
}

// untilOne waits until one instance is as wanted.
func (d *demo) untilOne(ctx context.Context, wanted func(*trial.Instance, agent.Status) bool) error {
	for {
		for _, i := range d.Instances() {
			if s, ok := i.Status(ctx); ok && wanted(i, s) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
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
		if count == d.wanted {
			fmt.Printf("   %d instances %s after %.1fs\n", count, what, time.Since(began).Seconds())
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d instances are %s: %w", count, d.wanted, what, context.Cause(ctx))
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
