package laptop_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/trial"
)

// caching gives the fleet an artifact cache.
func caching(o *trial.Options) { o.Configuration += "cache: {url: s3://artifacts/built}\n" }

// kept waits until an artifact is whole, its record too.
func (l *lab) kept() {
	l.t.Helper()
	l.until("the artifact is kept", func() error {
		if puts := l.Region.Counts()["s3:PutObject"]; puts < 2 {
			return fmt.Errorf("%d objects were put", puts)
		}
		if !strings.Contains(l.log.tail(2000), "the release is in the artifact cache") {
			return fmt.Errorf("nobody says so")
		}
		return nil
	})
}

// phases are those of an instance's timeline.
func (l *lab) phases(i *trial.Instance) []string {
	l.t.Helper()
	s, ok := i.Status(l.t.Context())
	if !ok {
		l.t.Fatalf("%s does not answer", i.ID)
	}
	var names []string
	for _, span := range s.Timeline {
		names = append(names, span.Phase)
	}
	return names
}

func TestTheSecondInstanceTakesWhatTheFirstHasBuilt(t *testing.T) {
	t.Parallel()
	l := newLab(t, caching)
	if err := l.Region.S3.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	number := l.put(l.commit("main"))
	l.launch()
	first := l.only()
	l.until("in service", func() error { return l.settled(first, number) })
	if got := l.phases(first); !slices.Contains(got, "build") {
		t.Errorf("the first instance's phases are %v", got)
	}
	l.kept()
	l.wait("stable", func(s agent.Status) error {
		if s.Stable.Number != number {
			return fmt.Errorf("stable is %s", s.Stable)
		}
		return nil
	})
	if err := l.machine(first).Kill(); err != nil {
		t.Fatal(err)
	}
	next := l.replaced(first.ID)
	l.until("the next one in service", func() error { return l.settled(next, number) })
	if got := l.phases(next); !slices.Contains(got, "cache") || slices.Contains(got, "build") || slices.Contains(got, "fetch") {
		t.Errorf("the next instance's phases are %v", got)
	}
}

// None of them has anything, and one of them builds for all.
func TestOfThreeInstancesThatLaunchTogetherOneBuilds(t *testing.T) {
	t.Parallel()
	l := newLab(t, caching, func(o *trial.Options) { o.Instances = 3 })
	if err := l.Region.S3.MakeBucket("artifacts"); err != nil {
		t.Fatal(err)
	}
	number := l.put(l.commit("main"))
	l.launch()
	l.wait("in service, each of them", serving(number))
	built := map[string]int{}
	for _, i := range l.Instances() {
		for _, phase := range l.phases(i) {
			built[phase]++
		}
	}
	if built["build"] != 1 || built["fetch"] != 1 || built["cache"] != 3 {
		t.Errorf("their phases are %v", built)
	}
}

func TestACacheThatIsForbiddenIsSaidAndFailsNoBoot(t *testing.T) {
	t.Parallel()
	l := newLab(t, caching)
	l.Region.Faults.Add(fault.Rule{Service: "s3", Effect: fault.Deny()})
	number := l.put(l.commit("main"))
	l.launch()
	only := l.only()
	l.until("in service", func() error { return l.settled(only, number) })
	l.wait("the problem", problem("the artifact cache", "may not s3:ListBucket"))
	if calls := l.Region.Calls(wire.Filter{Service: "s3"}); len(calls) == 0 {
		t.Error("S3 was never asked")
	}
}
