package agent

import (
	"testing"
	"time"
)

// A fleet shares what an account is given, however many look.
func TestALargeFleetLooksLessOften(t *testing.T) {
	t.Parallel()
	for _, group := range []int{0, 1, 20, 50, 300, 1000} {
		p := Pace{Group: group}
		perSecond := func(pause time.Duration) float64 { return float64(group) / pause.Seconds() }
		if got := perSecond(p.Release()); got > 10 {
			t.Errorf("%d instances read the parameter %.1f times a second", group, got)
		}
		if got := perSecond(p.Records()); got > 25 {
			t.Errorf("%d instances read the records %.1f times a second", group, got)
		}
		if got := perSecond(p.Targets(false)); got > 5 {
			t.Errorf("%d instances look at their targets %.1f times a second", group, got)
		}
		first, longest := p.Await(5 * time.Second)
		if got := perSecond(longest); got > 10 || first > longest {
			t.Errorf("%d instances that wait look at their targets %.1f times a second, after %s first", group, got, first)
		}
		if p.Release() < 2*time.Second || p.Records() < 2*time.Second || p.Targets(false) < 30*time.Second || p.Targets(true) < 5*time.Second {
			t.Errorf("%d instances look more often than anything needs", group)
		}
	}
}

// A slot's holder renews it, and a leader the lease, three times before they are dead.
func TestWhoHoldsALeaseLooksInTimeToRenewIt(t *testing.T) {
	t.Parallel()
	for _, p := range []Pace{{Group: 1000, Slot: true}, {Group: 1000, Leads: true}} {
		if got := p.Records(); got > 5*time.Second {
			t.Errorf("%+v reads the records each %s", p, got)
		}
	}
	if got := (Pace{Group: 2, Slot: true}).Records(); got != 2*time.Second {
		t.Errorf("a small group's slot holder reads the records each %s", got)
	}
	if small, large := (Pace{Group: 20}).Look(), (Pace{Group: 1000}).Look(); small != 2*time.Second || large != 5*time.Second {
		t.Errorf("the leader looks at a small group each %s, and at a large one each %s", small, large)
	}
}

func TestAnInstanceThatBootsAloneWaitsForNothing(t *testing.T) {
	t.Parallel()
	if p := (Pace{}); p.Later() != 0 || p.Again() != 0 {
		t.Errorf("it waits %s and %s", p.Later(), p.Again())
	}
}

func TestWhoWaitsForTheBalancerLooksAsOftenAsItsInterval(t *testing.T) {
	t.Parallel()
	for interval, want := range map[time.Duration][2]time.Duration{
		0:                 {500 * time.Millisecond, 5 * time.Second}, // not known yet
		time.Second:       {100 * time.Millisecond, 500 * time.Millisecond},
		5 * time.Second:   {100 * time.Millisecond, 5 * time.Second / 6},
		10 * time.Second:  {200 * time.Millisecond, 10 * time.Second / 6},
		30 * time.Second:  {500 * time.Millisecond, 5 * time.Second},
		300 * time.Second: {500 * time.Millisecond, 5 * time.Second},
	} {
		if first, longest := (Pace{Group: 3}).Await(interval); first != want[0] || longest != want[1] {
			t.Errorf("a check each %s is looked for after %s, and each %s at the most; want %s", interval, first, longest, want)
		}
	}
}
