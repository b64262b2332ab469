// Package fault makes the region misbehave, call by call: a Rule says which
// calls, its Effect what happens to them. An Injector holds the rules and
// stands between the region's front and its services.
package fault

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/bootagent/bootagent/internal/region/wire"
)

// Rule says which calls are disturbed and how. The zero value of every field
// but Effect matches everything, always.
type Rule struct {
	Service   string               // "ssm", "elasticloadbalancing" …
	Operation string               // "GetParameters"
	Instance  string               // the id of the instance that signed the call
	When      func(wire.Call) bool // further conditions; called concurrently

	// Skip lets the first matching calls pass: with Skip 2, Count 1 only the
	// third is disturbed.
	Skip int
	// Count ends the rule after so many disturbed calls; 0 is no end.
	Count int
	// Probability disturbs each remaining call with this chance, in (0, 1);
	// 0 disturbs every one. Seed makes the sequence of chances repeatable.
	Probability float64
	Seed        uint64

	Effect Effect // required
}

// Injector holds the rules in force. The zero value has none. Its Intercept is
// the region's wire.Interceptor. All methods may be called at any time.
type Injector struct {
	mu    sync.RWMutex
	rules []*Active
}

// Active is a rule in force.
type Active struct {
	rule     Rule
	injector *Injector

	mu     sync.Mutex
	seen   int
	hits   int
	chance *rand.Rand
}

// Add puts a rule in force, after those that already are: where several match
// one call, an earlier one is around a later one. It panics without an Effect.
func (i *Injector) Add(rule Rule) *Active {
	if rule.Effect == nil {
		panic("fault: a rule without an effect")
	}
	a := &Active{rule: rule, injector: i, chance: rand.New(rand.NewPCG(rule.Seed, 0))}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rules = append(i.rules, a)
	return a
}

// Clear takes every rule out of force.
func (i *Injector) Clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rules = nil
}

// Remove takes the rule out of force. Calls that it holds already stay held.
func (a *Active) Remove() {
	a.injector.mu.Lock()
	defer a.injector.mu.Unlock()
	a.injector.rules = slices.DeleteFunc(slices.Clone(a.injector.rules), func(other *Active) bool { return other == a })
}

// Hits is how many calls the rule has disturbed so far, those under way included.
func (a *Active) Hits() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hits
}

// Intercept passes the call on through every rule that takes it.
func (i *Injector) Intercept(ctx context.Context, call wire.Call, next func() (any, error)) (any, error) {
	i.mu.RLock()
	rules := i.rules // never changed in place: Add may append behind it, Remove clones
	i.mu.RUnlock()
	return through(ctx, call, rules, next)
}

func through(ctx context.Context, call wire.Call, rules []*Active, next func() (any, error)) (any, error) {
	for n, a := range rules {
		if a.take(call) {
			inner := func() (any, error) { return through(ctx, call, rules[n+1:], next) }
			return a.rule.Effect(ctx, call, inner)
		}
	}
	return next()
}

// take decides whether the rule disturbs this call, and counts it if so.
func (a *Active) take(call wire.Call) bool {
	r := a.rule
	if (r.Service != "" && r.Service != call.Service) ||
		(r.Operation != "" && r.Operation != call.Operation) ||
		(r.Instance != "" && r.Instance != call.Principal.Instance) ||
		(r.When != nil && !r.When(call)) {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen++
	if a.seen <= r.Skip || (r.Count > 0 && a.hits >= r.Count) {
		return false
	}
	if r.Probability > 0 && a.chance.Float64() >= r.Probability {
		return false
	}
	a.hits++
	return true
}
