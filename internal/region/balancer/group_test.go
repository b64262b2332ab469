package balancer

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// reached is the set of targets that requests on all nodes go to.
func reached(g *Group) []string {
	seen := map[string]bool{}
	for connection := range uint64(4) {
		for range 12 {
			if p, ok := g.pick(connection); ok {
				seen[p.target.ID] = true
				p.done()
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// "If a target group contains only unhealthy registered targets, the load
// balancer routes requests to all those targets, regardless of their health
// status." https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
// "HTTP 503: The target groups for the load balancer have no registered
// targets, or all of the registered targets are in an unused state."
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
func TestWhichTargetsGetRequests(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		states map[string]State
		want   []string
	}{
		"nothing registered":               {nil, nil},
		"only the healthy":                 {map[string]State{"a": Healthy, "b": Unhealthy, "c": Initial, "d": Healthy, "e": Draining}, []string{"a", "d"}},
		"fails open to unhealthy":          {map[string]State{"a": Unhealthy, "b": Unhealthy}, []string{"a", "b"}},
		"fails open to initial too":        {map[string]State{"a": Unhealthy, "b": Initial, "c": Draining}, []string{"a", "b"}},
		"draining ones are no last resort": {map[string]State{"a": Draining}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewGroup(GroupOptions{})
			defer g.Close()
			for id, s := range tc.states {
				g.Set(Target{ID: id}, Initial)
				g.Set(Target{ID: id}, s)
			}
			if diff := cmp.Diff(tc.want, reached(g)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// 5 s of patience were seen not to be enough, rarely 40 s were not, 70 s always were:
// https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/1064
// https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/2106
func TestADeregisteredTargetGetsNewRequestsForARandomWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(GroupOptions{Nodes: 4, Deregistered: Range{5 * time.Second, 60 * time.Second}})
		defer g.Close()
		g.Set(Target{ID: "old"}, Healthy)
		g.Set(Target{ID: "new"}, Healthy)
		g.Set(Target{ID: "old"}, Draining)
		start := time.Now()
		var learnt [4]time.Duration
		for time.Since(start) <= 61*time.Second {
			for node := range uint64(4) {
				got := map[string]bool{}
				for range 4 {
					p, _ := g.pick(node)
					got[p.target.ID] = true
					p.done()
				}
				if !got["new"] {
					t.Fatalf("node %d sends nothing to the healthy target after %s", node, time.Since(start))
				}
				if !got["old"] && learnt[node] == 0 {
					learnt[node] = time.Since(start)
				}
				if got["old"] && learnt[node] != 0 {
					t.Fatalf("node %d forgot the deregistration after %s", node, time.Since(start))
				}
			}
			g.Set(Target{ID: "old"}, Draining) // saying it again does not put it off
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		for node, after := range learnt {
			if after < 5*time.Second || after > 60*time.Second+10*time.Millisecond {
				t.Errorf("node %d stopped after %s, want 5s to 60s", node, after)
			}
		}
		if slices.Min(learnt[:]) == slices.Max(learnt[:]) {
			t.Errorf("all nodes stopped after %s: each draws its own while", learnt[0])
		}
	})
}

func TestAHealthyTargetGetsRequestsAfterItsNodeLearns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(GroupOptions{Healthy: Range{2 * time.Second, 2 * time.Second}})
		defer g.Close()
		g.Set(Target{ID: "old"}, Unhealthy)
		g.Set(Target{ID: "new"}, Initial)
		g.Set(Target{ID: "new"}, Healthy)
		check := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, reached(g)); diff != "" {
				t.Error(diff)
			}
		}
		time.Sleep(time.Second)
		check("new", "old") // both are as good as each other so far
		time.Sleep(2 * time.Second)
		check("new")
	})
}

func TestATargetThatComesBackIsNotDrained(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(GroupOptions{Deregistered: Range{time.Second, time.Second}})
		defer g.Close()
		a := Target{ID: "a"}
		g.Set(a, Healthy)
		g.Set(a, Draining)
		time.Sleep(500 * time.Millisecond)
		g.Set(a, Initial)
		g.Set(a, Healthy)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]string{"a"}, reached(g)); diff != "" {
			t.Error(diff)
		}
	})
}

// A delay of 0 does not make the nodes learn faster.
func TestATargetRemovedBeforeTheNodesLearnStillGetsRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(GroupOptions{Deregistered: Range{time.Second, time.Second}})
		defer g.Close()
		a := Target{ID: "a"}
		g.Set(a, Healthy)
		g.Set(a, Draining)
		g.Remove("a")
		if got := reached(g); len(got) != 1 {
			t.Errorf("gone at once: %v", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := reached(g); len(got) != 0 {
			t.Errorf("still there: %v", got)
		}
	})
}

func TestLeastOutstandingAvoidsTheBusyTarget(t *testing.T) {
	t.Parallel()
	g := NewGroup(GroupOptions{Nodes: 1})
	defer g.Close()
	g.SetAlgorithm(LeastOutstanding)
	g.Set(Target{ID: "a"}, Healthy)
	g.Set(Target{ID: "b"}, Healthy)
	busy, _ := g.pick(0) // and never done
	for range 8 {
		p, _ := g.pick(0)
		if p.target.ID == busy.target.ID {
			t.Fatalf("picked %s, which has a request in flight", p.target.ID)
		}
		p.done()
	}
}

func TestRoundRobinIsEven(t *testing.T) {
	t.Parallel()
	g := NewGroup(GroupOptions{Nodes: 1})
	defer g.Close()
	counts := map[string]int{}
	for _, id := range []string{"a", "b", "c"} {
		g.Set(Target{ID: id}, Healthy)
	}
	for range 30 {
		p, _ := g.pick(0)
		counts[p.target.ID]++
		p.done()
	}
	if diff := cmp.Diff(map[string]int{"a": 10, "b": 10, "c": 10}, counts); diff != "" {
		t.Error(diff)
	}
}
