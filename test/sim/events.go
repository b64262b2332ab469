// Package sim runs a fleet in virtual time: agents that decide with production's agent.Plan and rollout.Step, operators, an Auto
// Scaling group, a balancer and a table, in one event loop without goroutines. A seed makes a scenario, a scenario makes a
// run, and the same seed makes the same run. After every write and every effect the invariants are held against what really is.
package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"
)

// event is something that happens at a time.
type event struct {
	at   time.Duration
	seq  int // of two at the same time the one that was asked for first
	what func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// loop is the virtual time.
type loop struct {
	now    time.Duration
	seq    int
	queue  events
	random *rand.Rand
}

// after lets something happen later.
func (l *loop) after(d time.Duration, what func()) {
	l.seq++
	heap.Push(&l.queue, event{l.now + d, l.seq, what})
}

// next lets the next thing happen; false where there is none.
func (l *loop) next() bool {
	if len(l.queue) == 0 {
		return false
	}
	e := heap.Pop(&l.queue).(event)
	l.now = e.at
	e.what()
	return true
}

// chance is true once in n.
func (l *loop) chance(n int) bool { return n > 0 && l.random.IntN(n) == 0 }

// between draws a duration.
func (l *loop) between(low, high time.Duration) time.Duration {
	return low + time.Duration(l.random.Int64N(int64(high-low)+1))
}

// Violation is an invariant that did not hold.
type Violation struct {
	Invariant string
	At        time.Duration
	What      string
}

func (v *Violation) String() string {
	return fmt.Sprintf("%s at %s: %s", v.Invariant, v.At.Round(time.Millisecond), v.What)
}
