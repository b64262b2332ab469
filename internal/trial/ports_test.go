package trial

import (
	"net"
	"testing"
)

func TestTrialsBesideEachOtherTakeDifferentPorts(t *testing.T) {
	t.Parallel()
	var one ports
	t.Cleanup(one.close)
	first, last, err := one.take()
	if err != nil {
		t.Fatal(err)
	}
	// The other begins just where the one has been.
	other := ports{guards: map[int]net.Listener{}, next: first - 1}
	t.Cleanup(other.close)
	from, to, err := other.take()
	if err != nil {
		t.Fatal(err)
	}
	if from <= last && to >= first || last-first != rangeSize-1 || to-from != rangeSize-1 {
		t.Errorf("one has %d to %d, the other %d to %d", first, last, from, to)
	}
	one.give(first)
	third := ports{guards: map[int]net.Listener{}, next: first - 1}
	t.Cleanup(third.close)
	if again, _, err := third.take(); err != nil || again != first {
		t.Errorf("what was given back, %d, is not taken again but %d (%v)", first, again, err)
	}
}
