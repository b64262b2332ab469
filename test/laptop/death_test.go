package laptop_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/fault"
)

func TestAnInstanceThatDiesIsReplacedByOneThatComesIntoService(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	dead := l.only()
	l.until("in service", func() error { return l.settled(dead, 1) })
	if err := l.machine(dead).Kill(); err != nil {
		t.Fatal(err)
	}
	l.until("in service on another instance", func() error {
		all := l.Instances()
		if len(all) != 1 || all[0].ID == dead.ID {
			return fmt.Errorf("%d instances run", len(all))
		}
		return l.settled(all[0], 1)
	})
	if targets, err := l.targets(dead); err != nil || len(targets) > 0 {
		t.Errorf("the dead one's targets are still there: %v (%v)", targets, err)
	}
	l.until("reached through the balancer", func() error { return l.answers("1") })
}

// TestAnAgentThatIsToldToStopLeavesTheAppServing sends SIGTERM, in service and in the middle of handovers.
func TestAnAgentThatIsToldToStopLeavesTheAppServing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.slowApp("main")
	l.put("main")
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	traffic := l.startLoad()

	w := newWalk(l)
	w.signal = syscall.SIGTERM
	w.kill(i.ID, &step{})
	l.until("started again, and in service as if nothing had been", func() error {
		if l.machine(i).Starts() != 2 {
			return fmt.Errorf("the agent runs on")
		}
		return l.settled(i, 1)
	})
	if !l.log.contains("bootagent stops; the app goes on") {
		t.Error("the agent did not say that it stops")
	}
	if after := l.theProcess(i); after != before {
		t.Errorf("the app was restarted: %v, then %v", before, after)
	}
	w.walk(i, []edge{amid("build", 150*time.Millisecond), amid("check", 100*time.Millisecond), amid("drain", time.Second)}, 2)
	traffic.stop()
}

func TestAMachineThatIsRebootedStartsWhatIsOnItsDiskAndComesBack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	before := l.theProcess(i)
	if err := l.machine(i).Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until("in service again", func() error {
		if s, err := l.look(i); err != nil || s.Identity.BootID != i.ID+"-boot-1" {
			return fmt.Errorf("it is not on its second boot: %v", err)
		}
		return l.settled(i, 1)
	})
	if after := l.theProcess(i); after.pid == before.pid {
		t.Error("the process outlived the reboot")
	}
	if n := l.log.count(i.ID, "\tfetch started\t"); n != 1 {
		t.Errorf("release 1 was fetched %d times, although it was on disk", n)
	}
	// The balancer's nodes learn a little later that the target from before the reboot is no more.
	l.until("reached through the balancer", func() error { return l.answers("1") })
}

// TestAMachineThatComesBackWithAnOldReleaseDoesNotServeIt lets a release pass
// while the machine is off, and keeps the agent from learning of it at first.
func TestAMachineThatComesBackWithAnOldReleaseDoesNotServeIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.put(l.commit("main"))
	l.launch()
	i := l.only()
	l.until("in service, and stable", func() error { return l.stable(i, 1) })
	l.until("labelled", func() error { return l.labelled(1) })

	deaf := l.Region.Faults.Add(fault.Rule{Service: "ssm", Operation: "GetParameters", Instance: i.ID, Effect: fault.Throttle()})
	blind := l.Region.Faults.Add(fault.Rule{Service: "dynamodb", Instance: i.ID, Effect: fault.Throttle()})
	l.commit("main")
	l.put("main")
	if err := l.machine(i).Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.until("started with what is on disk, and not registered", func() error {
		running, err := l.processes(i)
		if err != nil || len(running) != 1 || running[0].release != 1 {
			return fmt.Errorf("these processes run: %v (%v)", running, err)
		}
		if targets, err := l.targets(i); err != nil || len(targets) > 0 {
			return fmt.Errorf("the targets are %v (%v)", targets, err)
		}
		return nil
	})
	// From now on, as before, release 1 gets no request that a balancer could avoid to send it.
	var answers []string
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		release, _ := get(newClient(), l.URL()) // there is nothing that could answer
		answers = append(answers, release)
		if targets, err := l.targets(i); err != nil || len(targets) > 0 {
			t.Fatalf("the old release was registered: %v (%v)", targets, err)
		}
	}
	if len(answers) > 0 && slices.Contains(answers[len(answers)/2:], "1") {
		t.Errorf("the old release answered: %v", answers)
	}
	deaf.Remove()
	blind.Remove()
	l.until("on release 2", func() error { return l.settled(i, 2) })
	l.until("labelled", func() error { return l.labelled(2) })
}
