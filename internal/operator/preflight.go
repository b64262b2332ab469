package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// wish is a deploy that was asked for, as far as it is known what it will be.
type wish struct {
	Request
	policy     rollout.Policy // the configuration's with the request's changes
	revision   string
	rollbackOf int64
	epoch      int64
	rooms      []Room
}

// preflight refuses what will not be rolled out, before anything is written. What takes long comes before the lock is taken, and what may
// have changed since is looked at again under it: see admit.
func (o *Operator) preflight(ctx context.Context, r Request) (w wish, err error) {
	w.Request = r
	if w.policy, err = o.Policy.With(r.Policy); err != nil {
		return w, refuse(Wrong, "%w", err)
	}
	if err := o.needsTable(ctx); err != nil {
		return w, err
	}
	if err := rollout.CheckRef(r.Ref); err != nil {
		return w, refuse(Wrong, "%w", err)
	}
	if w.revision, err = o.Repository.Resolve(ctx, r.Ref); err != nil {
		return w, err
	}
	if err := o.fits(w); err != nil {
		return w, err
	}
	if err := o.admit(ctx, &w); err != nil {
		return w, err
	}
	if err := o.Repository.Recipe(ctx, w.revision); err != nil {
		if isConfiguration(err) {
			return w, err
		}
		return w, refuse(Failed, "%s (%.12s) can't be deployed: %w", r.Ref, w.revision, err)
	}
	if err := o.healthyEnough(ctx, w); err != nil {
		return w, err
	}
	err = o.targetsFit(ctx, &w)
	return w, err
}

// needsTable refuses a fleet that has no place for its records.
func (o *Operator) needsTable(ctx context.Context) error {
	if o.Table != "" {
		return nil
	}
	h, err := o.health(ctx, lookAtGroup)
	if err != nil {
		return err
	}
	if h.Most > 1 {
		return refuse(Wrong, "the Auto Scaling group %s may grow to %d instances, and a fleet needs a table for its records: make one, with %s, "+
			"and name it in the configuration, as fleet: {table: bootagent}", h.Name, h.Most, o.MakeTable)
	}
	return nil
}

// fits refuses what no parameter takes, or no agent would read.
func (o *Operator) fits(w wish) error {
	value, err := o.value(w)
	if err != nil {
		return err
	}
	if n := len(value); n > rollout.MaxIntent {
		return refuse(Wrong, "the release would have %d bytes, and a parameter takes %d: shorten the message (-m)", n, rollout.MaxIntent)
	}
	if _, err := rollout.ParseIntent(value); err != nil {
		return refuse(Wrong, "the release can't be written: %w", err)
	}
	return nil
}

// value is what is put into the parameter.
func (o *Operator) value(w wish) (string, error) {
	intent := rollout.Intent{
		Schema: rollout.IntentSchema, Epoch: w.epoch, Revision: w.revision, Repository: o.Source, Ref: w.Ref, By: o.By, Message: w.Message,
		Policy: w.Policy, Force: w.Force, RollbackOf: w.rollbackOf,
	}
	if o.Store != nil {
		intent.Lock = o.Nonce
	}
	value, err := json.Marshal(intent)
	if err != nil {
		return "", refuse(Wrong, "the release can't be written as JSON: %w", err)
	}
	return string(value), nil
}

// admit looks at the records: whether anybody holds this deploy up, and whether its revision is known to be bad. It fills in the epoch.
func (o *Operator) admit(ctx context.Context, w *wish) error {
	if o.Store == nil {
		return o.admitAlone(ctx, w)
	}
	r, err := o.read(ctx)
	if err != nil {
		return err
	}
	freeze, err := o.Store.Get(ctx, rollout.FreezeKey)
	if err != nil {
		return err
	}
	if freeze.Attributes != nil && w.rollbackOf == 0 {
		return refuse(Held, "%s", because("nobody deploys to %s now: %s froze it (bootagent unfreeze)", o.name(), named(worded(freeze, "by")))(worded(freeze, "message")))
	}
	if live := r.live(); live != nil && !w.Force {
		if err := o.endOrphan(ctx); err != nil {
			return err
		}
		if r, err = o.read(ctx); err != nil {
			return err
		}
		if live = r.live(); live != nil {
			return refuse(Held, "%s is being rolled out%s (%s): wait, end it with bootagent abort, or deploy with --force", live.Release, by(live.Origin.By), live.State.Status)
		}
	}
	bad, err := o.Store.Get(ctx, rollout.FailedKey(w.revision))
	if err != nil {
		return err
	}
	if bad.Attributes != nil && !w.Force {
		return refuse(Failed, "the revision %.12s failed before (%s): give another, or deploy it with --force", w.revision, firstLine(worded(bad, "cause")))
	}
	return o.epoch(ctx, r, w)
}

func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}

// epoch says in which epoch the release will be, and refuses a number that would be lower than one that was opened.
func (o *Operator) epoch(ctx context.Context, r records, w *wish) error {
	opened := r.opened()
	versions, err := o.Parameter.History(ctx, 1)
	if err != nil && !errors.Is(err, model.ErrNoRelease) {
		return err
	}
	var newest model.Version
	if len(versions) > 0 {
		newest = versions[0]
	}
	anew := newest.Number < opened.Number
	w.epoch = opened.Epoch
	switch {
	case anew && !w.NewEpoch:
		return refuse(Wrong, "the release parameter was deleted and made anew: its next version is %d, and %s was rolled out before, so no agent would take it; "+
			"if that was meant, deploy with --new-epoch", newest.Number+1, opened)
	case w.NewEpoch && !anew && !impostor(r.rollout, newest):
		return refuse(Wrong, "--new-epoch is for a release parameter that was deleted and made anew, and this one was not (its newest version is %d, %s was opened last): leave it out",
			newest.Number, opened)
	case w.NewEpoch:
		w.epoch++
	}
	return nil
}

// impostor says whether a version is another one with the number of the release that was opened last.
func impostor(r *rollout.Rollout, v model.Version) bool {
	intent, err := rollout.ParseIntent(v.Value)
	return r != nil && err == nil && r.Release.Number == v.Number &&
		(intent.Epoch != r.Release.Epoch && intent.Lock != "" || intent.Lock != r.Origin.Nonce || intent.Revision != "" && intent.Revision != r.Release.Revision)
}

// healthyEnough refuses to begin on a fleet that is below its floor, unless it is forced: a fix must get through.
func (o *Operator) healthyEnough(ctx context.Context, w wish) error {
	h, err := o.health(ctx, lookAtGroup)
	if err != nil {
		return err
	}
	if o.Standby && len(h.Members) > 0 && h.Desired <= h.Least {
		return refuse(Wrong, "the Auto Scaling group %s wants %d instances and has MinSize %d, so none could enter standby to switch (balancer.mode asg): "+
			"let MinSize be %d at most", h.Name, h.Desired, h.Least, max(h.Desired-1, 0))
	}
	members, healthy := h.inService(), h.healthy()
	floor := w.policy.Floor(members)
	switch {
	case !h.Known:
		o.Screen.Say("no instance is registered in the balancer, so the Auto Scaling group is not known (--group names it): its health is not looked at")
	case h.empty():
		o.Screen.Say(fmt.Sprintf("the group %s has no instances: the first that boots takes the release", h.Name))
	case (healthy < floor || healthy == 0 && members > 0) && !w.Force && w.rollbackOf == 0:
		return refuse(Failed, "%d of the %d instances in service are healthy%s, which is less than a rollout needs (%d): mend that first, or deploy a fix with --force",
			healthy, members, h.unwell(), max(floor, 1))
	case healthy < members:
		o.Screen.Say(fmt.Sprintf("warning: %d of the %d instances in service are healthy%s; the others take the release first", healthy, members, h.unwell()))
	}
	return nil
}

// unwell names one that is not healthy, and why.
func (h Health) unwell() string {
	for _, m := range h.Members {
		if m.InService && !m.Healthy {
			return fmt.Sprintf(" (%s: %s)", m.ID, m.Why)
		}
	}
	return ""
}
