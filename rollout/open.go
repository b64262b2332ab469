package rollout

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// open looks at the newest version of the parameter: whether it is a release that nobody has opened yet, and if so opens
// its record, or refuses it. Any agent does that; the store lets one of them win.
func (s *step) open() {
	pub, newest := s.Published, s.wanted()
	opened, stale := s.opened(), newest.Compare(s.newest) < 0 && !pub.Anew
	if !stale {
		s.newest = newest
	}
	switch {
	case pub.Number == 0:
		if s.Stable.Release.IsZero() && s.Rollout == nil {
			s.tell("nobody has asked for a release yet")
		}
	case pub.Newer:
		s.tell("version %d of the release parameter was written by a newer bootagent, which will open it: %v", pub.Number, pub.Err)
	case newest.Compare(opened) == 0 && s.impostor():
		s.settled = true
		s.tellAnew(opened)
	case newest.Compare(opened) == 0:
		s.settled = true
	case newest.Compare(opened) < 0:
		s.backward(opened)
	case stale:
	default:
		s.consider(newest)
	}
}

// opened is the newest release that has, or had, a record of its own.
func (s *step) opened() ID { return Opened(s.Rollout, s.Stable) }

// Opened is the newest release that has, or had, a rollout record of its own; r is nil where there is none.
func Opened(r *Rollout, stable Stable) ID {
	if r != nil && r.Release.Compare(stable.Release.ID) > 0 {
		return r.Release.ID
	}
	return stable.Release.ID
}

// wanted is the newest version's place in the order. What was written by hand says no epoch, and is of the present one.
func (s *step) wanted() ID {
	epoch := s.Published.Intent.Epoch
	if s.Published.Intent.Lock == "" {
		epoch = s.opened().Epoch
	}
	return ID{epoch, s.Published.Number}
}

// backward tells of a number that is lower than one that was opened: a stale read, or a parameter that was made anew.
func (s *step) backward(opened ID) {
	s.settled = true
	if s.Published.Anew {
		s.tellAnew(opened)
	}
}

func (s *step) tellAnew(opened ID) {
	s.tell("the release parameter was deleted and made anew: its version %d comes after %s, which was opened before. Nothing is rolled out until `bootagent deploy --new-epoch`",
		s.Published.Number, opened)
}

// impostor says whether the newest version is another one with the number of the release that was opened last.
func (s *step) impostor() bool {
	r, intent := s.Rollout, s.Published.Intent
	return r != nil && r.Release.ID == s.wanted() && s.Published.Err == nil &&
		(intent.Lock != r.Origin.Nonce || intent.Revision != "" && intent.Revision != r.Release.Revision)
}

// consider decides on a version that was not opened yet.
func (s *step) consider(id ID) {
	if id != s.refused && !s.need(ReleaseKey(id), LockKey, FreezeKey) {
		return
	}
	switch came, err := DecodeOutcome(s.Records[ReleaseKey(id)]); {
	case err != nil:
		s.refused, s.because = id, err.Error()
	case came.What == OutcomeRefused:
		s.refused, s.because = id, orText(came.Cause, came.What)
	case came.What != "": // somebody opened it after this view's rollout was read: the next view has it
		return
	}
	if id == s.refused {
		s.settled = true
		s.tell("%s was not rolled out: %s", id, s.because)
		return
	}
	policy, cause := s.refusal()
	if cause != nil {
		s.refuse(id, cause)
		return
	}
	if s.Records[FreezeKey].Attributes != nil && s.Published.Intent.RollbackOf == 0 {
		s.tell("version %d of the release parameter waits: nobody deploys now (bootagent unfreeze)", id.Number)
		return
	}
	revision, ok := s.revision(id)
	if !ok {
		return
	}
	if !s.need(FailedKey(revision)) {
		return
	}
	if s.Records[FailedKey(revision)].Attributes != nil && !s.Published.Intent.Force {
		s.refuse(id, fmt.Errorf("the revision %.12s failed before (bootagent history says how): give another, or deploy it with --force", revision))
		return
	}
	s.opens = true
	s.write("open "+id.String(), s.opening(Release{ID: id, Revision: revision, Ref: s.Published.Intent.Ref}, policy)...)
}

// need asks for records that this view does not have, and says whether it has them all.
func (s *step) need(keys ...string) bool {
	all := true
	for _, key := range keys {
		if _, ok := s.Records[key]; !ok {
			all = false
		}
	}
	if !all {
		s.Read = append(slices.Sorted(maps.Keys(s.Records)), keys...)
		slices.Sort(s.Read)
		s.Read = slices.Compact(s.Read)
	}
	return all
}

// refusal is why the newest version will never be rolled out, whatever happens; nil while it may be. It gives the policy that it is to have.
func (s *step) refusal() (Policy, error) {
	pub := s.Published
	if pub.Err != nil {
		return Policy{}, pub.Err
	}
	policy, err := s.Defaults.With(pub.Intent.Policy)
	if err != nil {
		return Policy{}, err
	}
	nonce := pub.Intent.Lock
	if nonce == "" {
		return policy, nil
	}
	lock, err := DecodeLock(s.Records[LockKey])
	if err != nil || lock.Nonce != nonce {
		if s.Rollout != nil && s.Rollout.Origin.Nonce == nonce {
			return policy, fmt.Errorf("it was written twice: %s is the same deploy", s.Rollout.Release.ID)
		}
		return policy, errors.New("its deploy had lost the lock when it wrote it: deploy again")
	}
	if s.Rollout != nil && s.Rollout.State.Live() && !pub.Intent.Force {
		return policy, fmt.Errorf("%s is being rolled out: wait, abort it, or deploy with --force", s.Rollout.Release.ID)
	}
	return policy, nil
}

// refuse records that a version is not rolled out, and why, so that nobody has to look at it again.
func (s *step) refuse(id ID, cause error) {
	s.tell("%s is refused: %v", id, cause)
	c := Change{Key: ReleaseKey(id), New: true, Set: map[string]string{
		"schema": text(Schema), "ref": text(s.Published.Intent.Ref), "outcome": text(OutcomeRefused), "cause": text(cut(cause.Error())),
	}}
	changes := []Change{c}
	if lock, ok := s.consumed(); ok {
		changes = append(changes, lock)
	}
	s.write("refuse "+id.String()+": "+cause.Error(), changes...)
}

// consumed is the change that takes the lock of the deploy that wrote the newest version.
func (s *step) consumed() (Change, bool) {
	record := s.Records[LockKey]
	lock, err := DecodeLock(record)
	if err != nil || lock.Nonce == "" || lock.Nonce != s.Published.Intent.Lock {
		return Change{}, false
	}
	return Change{Key: LockKey, Delete: true, Expect: expect(record.Attributes, "nonce")}, true
}

// revision is the full SHA of the newest version. A ref that was written by hand is resolved once, by whoever has the claim.
func (s *step) revision(id ID) (string, bool) {
	if s.Published.Intent.Revision != "" {
		return s.Published.Intent.Revision, true
	}
	key := ResolveKey(id)
	if !s.need(key) {
		return "", false
	}
	claim, mine := s.Records[key], text(s.Self.ID)
	if claim.Attributes["by"] != mine {
		silent := s.still(key, claim.Attributes["by"]+claim.Attributes["counter"])
		switch {
		case claim.Attributes == nil:
			s.write("claim the resolving of "+s.Published.Intent.Ref, Change{Key: key, New: true, Set: map[string]string{"schema": text(Schema), "by": mine, "counter": "0"}})
		case silent >= patience(s.Self.ID):
			s.write("resolve "+s.Published.Intent.Ref+" in the place of one that is gone", Change{
				Key: key, Expect: expect(claim.Attributes, "by", "counter"), Set: map[string]string{"by": mine},
			})
		}
		return "", false
	}
	r := s.Resolution
	switch {
	case r.Release != id, r.Err != nil && !r.Final:
		s.Resolve = true
		if r.Release == id {
			s.tell("version %d of the release parameter can't be resolved yet: %v", id.Number, r.Err)
		}
		s.renewClaim(key, claim)
		return "", false
	case r.Err != nil:
		s.refuse(id, r.Err)
		return "", false
	}
	return r.Revision, true
}

func (s *step) renewClaim(key string, claim Record) {
	if !s.due(key) {
		return
	}
	var counter int
	_ = optional(claim, "counter", &counter) // one that can't be read begins anew
	s.raised(key)
	s.write("renew the claim on resolving", Change{Key: key, Expect: expect(claim.Attributes, "by", "counter"), Set: map[string]string{"counter": text(counter + 1)}})
}

// opening are the changes that open the record of a release, all in one: the rollout is replaced as it was read, the lock is
// consumed, nobody has frozen meanwhile, and nobody has refused the release.
func (s *step) opening(release Release, policy Policy) []Change {
	intent, old := s.Published.Intent, s.Rollout
	origin := Origin{By: intent.By, Message: intent.Message, Nonce: intent.Lock, RollbackOf: intent.RollbackOf, First: s.Stable.Release.IsZero()}
	state := State{Status: Pending}
	c := Change{Key: RolloutKey, Set: map[string]string{"schema": text(Schema), "release": text(release), "policy": text(policy), "failures": "0"}}
	lead := Lead{By: s.Self.ID, Term: 1, Counter: 1}
	if s.Self.Leaving {
		lead.By = ""
	}
	changes := []Change{outcome(release, OutcomeOpen, "")}
	changes[0].New = true
	if old == nil {
		c.New = true
	} else {
		c.Expect = expect(old.text, "schema", "release", "lease", "state")
		c.Remove = []string{"failure"}
		state.Serial, lead.Term, lead.Counter, lead.Serial = old.State.Serial+1, old.Lead.Term+1, old.Lead.Counter+1, old.State.Serial+1
		if old.State.Live() {
			origin.Marked = old.Origin.Marked || old.Task.ran()
			changes = append(changes, outcome(old.Release, OutcomeSuperseded, "by "+release.ID.String()))
		}
		for name, part := range s.takenOver(release.ID) {
			c.Set[name], c.Expect[name] = part, old.text[name] // a mark of standby that is written meanwhile must not be lost
		}
	}
	switch {
	case s.Published.Seeded && intent.Lock == "":
		state.Status, state.Was, state.Phase = Paused, Pending, ""
		state.Cause = "the instance before this one may have tried it, and what it knew is lost: put it again, or resume"
		c.Set["task"] = text(Task{State: TaskUnknown})
	case intent.RollbackOf != 0: // a rollback runs no release task
		c.Set["task"] = text(Task{State: NoTask})
	case old != nil:
		c.Remove = append(c.Remove, "task")
	}
	c.Set["origin"], c.Set["state"], c.Set["lease"] = text(origin), text(state), text(lead)
	s.tried = sight{c.Set["lease"], s.now}
	changes = append(changes, c)
	if lock, ok := s.consumed(); ok {
		changes = append(changes, lock)
	}
	if intent.RollbackOf == 0 {
		changes = append(changes, Change{Key: FreezeKey, Absent: []string{"schema"}})
	}
	if !intent.Force {
		changes = append(changes, Change{Key: FailedKey(release.Revision), Absent: []string{"schema"}})
	}
	return changes
}

// takenOver are the open slots of the rollout before: they count in the new one, because their holders may be in the middle
// of a switch.
func (s *step) takenOver(to ID) map[string]string {
	out := map[string]string{}
	for id, p := range s.Rollout.Parts {
		switch {
		case p.Open():
			out[partPrefix+id] = text(Part{ID: to, State: Granted, Astray: true, Aside: p.Aside})
		case p.Aside:
			out[partPrefix+id] = text(Part{ID: to, State: Stray, Astray: true, Aside: true})
		}
	}
	return out
}

func orText(one, other string) string {
	if one == "" {
		return other
	}
	return one
}
