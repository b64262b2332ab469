package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

func TestOnlyAStartAfterAnEndIsACrash(t *testing.T) {
	t.Parallel()
	rel := model.Release{Number: 2, Revision: "r"}
	m := Memory{InService: rel, Serving: true, Port: 8080}
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	if got := m.After(Start{Release: rel, Process: "worker"}, Outcome{}, at); len(got.Crashes) > 0 {
		t.Errorf("the first start of a worker is none, got %v", got.Crashes)
	}
	again := m.After(Start{Release: rel, Process: web, Port: 8080}, Outcome{Ended: "it exited with code 3"}, at)
	if c := again.Crashes[web]; c.Count != 1 || c.Cause != "it exited with code 3" {
		t.Errorf("got %+v", c)
	}
	// Where the new process fails its check as well, it is condemned: that counts. What is started in its place, once it is gone, does not.
	condemned := again.condemn(8080, rel, "no database", at).After(Start{Release: rel, Process: web, Port: 8081}, Outcome{}, at)
	if c := condemned.Crashes[web]; c.Count != 2 || c.NotBefore.Sub(at) != time.Second {
		t.Errorf("got %+v", c)
	}
	if text := condemned.Crashes[web].repeated(at); !strings.Contains(text, "failed 2 times in a row") || !strings.Contains(text, "no database") {
		t.Errorf("it is told as %q", text)
	}
	// What fails its checks since it crashes is condemned for that, and says why it crashed, once.
	out := Deregister{Release: rel, Port: 8080, Cause: Unhealthy}
	failing := again.After(out, Outcome{}, at).After(out, Outcome{}, at)
	if c := failing.Crashes[web]; c.Count != 3 || c.Cause != Unhealthy+"; before that: it exited with code 3" || failing.Ports[8080].Condemned == "" {
		t.Errorf("got %+v", c)
	}
	if text := condemned.Crashes[web].repeated(at.Add(2 * calm)); text != "" {
		t.Errorf("long after it is still told as %q", text)
	}
}

func TestAStepThatNobodyWantsAnyMoreIsForgotten(t *testing.T) {
	t.Parallel()
	mistyped, wanted := Prepare{two}, Prepare{three}
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	m := Memory{}
	for _, step := range []Step{mistyped, wanted} {
		m = m.After(step, Outcome{Err: errors.New("no such branch")}, at)
	}
	if got := m.Forget([]Step{wanted}, Desired{}); len(got.Retries) != 2 {
		t.Errorf("before the parameter was read nobody knows what is wanted, got %v", got.Retries)
	}
	got := m.Forget([]Step{wanted}, Desired{Known: true})
	if _, kept := got.Retries[wanted.String()]; len(got.Retries) != 1 || !kept {
		t.Errorf("got %v", got.Retries)
	}
}

func TestTheSameFailureIsNoNewsForItsRequestsId(t *testing.T) {
	t.Parallel()
	const denied = "the role may not ssm:GetParameters: add that action to its policy (because of x)"
	if !same(denied+" (request 1-a)", denied+" (request 2-b)") {
		t.Error("the id of a request makes another failure of it")
	}
	if same(denied+" (request 1-a)", "AWS failed (request 1-a)") || same("", denied) {
		t.Error("two failures are the same")
	}
}
