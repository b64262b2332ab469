package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/bootagent/bootagent/rollout"
)

// cli is one run of the command line tool: take the lock, look, put, watch the lock until it is consumed.
type cli struct {
	w     *world
	name  string
	nonce string
	b     *Behaviour
	force bool
	anew  bool          // --new-epoch
	undo  bool          // rollback
	dies  bool          // between lock and put
	sleep time.Duration // between lock and put
	lock  rollout.Record
	since time.Duration // since when the lock has been seen as it is
	until time.Duration
}

func (w *world) deploy(b Behaviour, change func(*cli)) {
	w.facts.nonces++
	c := &cli{w: w, name: fmt.Sprintf("cli-%d", w.facts.nonces), nonce: fmt.Sprintf("n-%d", w.facts.nonces), b: &b, until: w.now + 5*time.Minute}
	if change != nil {
		change(c)
	}
	w.cliBusy++
	w.trace("%s: deploy %s force=%t", c.name, c.b, c.force)
	c.take()
}

func (c *cli) actor() actor { return actor{name: c.name, operator: true} }

func (c *cli) done(format string, args ...any) {
	c.w.trace("%s: %s", c.name, fmt.Sprintf(format, args...))
	c.w.cliBusy--
}

// take takes the lock, or watches another's until it is dead.
func (c *cli) take() {
	w := c.w
	if w.now > c.until {
		c.done("exit 4: locked")
		return
	}
	again := func() { w.after(2*time.Second, c.take) }
	if w.outage() {
		again()
		return
	}
	now := w.table.get(rollout.LockKey)
	if lock, _ := rollout.DecodeLock(now); lock.Nonce == c.nonce { // a response was lost
		w.after(w.latency(), c.look)
		return
	}
	if fmt.Sprint(now.Attributes) != fmt.Sprint(c.lock.Attributes) {
		c.lock, c.since = now, w.now
	}
	changes := rollout.TakeLock(now, c.nonce, c.name, w.now-c.since)
	if changes == nil {
		again()
		return
	}
	w.after(w.latency(), func() {
		if w.table.apply(c.actor(), "take the lock", changes) != nil {
			again()
			return
		}
		w.after(w.latency(), c.look)
	})
}

// look is the preflight: what can be refused is refused before anything is put.
func (c *cli) look() {
	w := c.w
	r := w.table.rollout
	refuse := ""
	switch {
	case c.undo && r != nil && r.State.Live():
		c.giveUp("aborts instead")
		w.operate("abort")
		return
	case r != nil && r.State.Live() && !c.force:
		refuse = "exit 4: a rollout is under way"
	case w.table.get(rollout.FreezeKey).Attributes != nil && !c.undo:
		refuse = "exit 4: frozen"
	case w.table.get(rollout.FailedKey(c.b.Revision)).Attributes != nil && !c.force:
		refuse = "exit 1: known bad"
	case c.anew && w.parameter.lives < 2:
		refuse = "exit 2: the parameter was not made anew"
	}
	switch {
	case refuse != "":
		c.giveUp(refuse)
	case c.dies:
		c.done("dies, the lock in hand")
	default:
		w.after(w.latency()+c.sleep, c.put)
	}
}

func (c *cli) giveUp(why string) {
	if changes := rollout.GiveLock(c.w.table.get(rollout.LockKey), c.nonce); changes != nil {
		_ = c.w.table.apply(c.actor(), "give the lock back", changes)
	}
	c.done("%s", why)
}

// put is the commit point.
func (c *cli) put() {
	w := c.w
	intent := rollout.Intent{Schema: 1, Epoch: w.facts.epoch, Revision: c.b.Revision, Ref: "v", By: c.name, Lock: c.nonce, Force: c.force}
	if c.anew {
		intent.Epoch++
	}
	if c.undo {
		intent.RollbackOf = 1
	}
	w.put(c.name, intent, c.b)
	c.keep()
}

// keep renews the lock until somebody has consumed it.
func (c *cli) keep() {
	w := c.w
	lock := w.table.get(rollout.LockKey)
	changes := rollout.RenewLock(lock, c.nonce)
	if changes == nil {
		c.done("its lock is consumed")
		return
	}
	if w.now > c.until+10*time.Minute {
		c.done("exit 1: nobody opened it")
		return
	}
	w.after(w.latency(), func() { _ = w.table.apply(c.actor(), "renew the lock", changes) })
	w.after(rollout.Renew, c.keep)
}

// operate is one command of an operator, tried until it is done; a second time it has nothing to do (S11).
func (w *world) operate(command string) {
	tries := 0
	w.cliBusy++
	var try func()
	try = func() {
		if tries++; tries > 20 || w.outage() {
			w.cliBusy--
			return
		}
		changes, err := w.command(command)
		if err != nil || len(changes) == 0 {
			w.cliBusy--
			w.trace("operator: %s: nothing to do: %v", command, err)
			return
		}
		if r := w.table.rollout; !strings.Contains(command, "freeze") && (r == nil || !r.State.Live()) {
			w.violated("S11", "%s changes a rollout that has ended", command)
		}
		w.after(w.latency(), func() {
			if err := w.table.commit(actor{name: "operator", operator: true}, command, changes); err != nil {
				w.after(w.latency(), try)
				return
			}
			w.cliBusy--
			if again, err := w.command(command); err == nil && len(again) > 0 {
				w.violated("S11", "%s, done twice, does something twice", command)
			}
		})
	}
	try()
}

func (w *world) command(command string) ([]rollout.Change, error) {
	r := w.mutation.operator(w.table.rollout)
	switch command {
	case "pause":
		return rollout.PauseRollout(r, "operator", "a pause")
	case "resume":
		return rollout.ResumeRollout(r, "operator")
	case "abort":
		return rollout.AbortRollout(r, w.table.stable, "operator", "")
	case "promote":
		return rollout.PromoteRollout(r, "operator")
	case "freeze":
		return rollout.FreezeDeploys(w.table.get(rollout.FreezeKey), "operator", "holidays"), nil
	case "unfreeze":
		return rollout.UnfreezeDeploys(w.table.get(rollout.FreezeKey)), nil
	}
	panic(command)
}
