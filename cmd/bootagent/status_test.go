package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/local"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/timeline"
)

func TestStatusSaysThatNoAgentRuns(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	for _, verb := range []string{"status", "timeline"} {
		command(t, verb, "--socket", socket).expect(t, exitFailed, nil, []string{
			"no agent answers on " + socket, "is bootagent running on this instance", "systemctl status bootagent"})
	}
	// The same where an agent was killed, and its socket is left.
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "status", "--socket", socket).expect(t, exitFailed, nil, []string{"no agent answers on " + socket})
}

// now is a fixed moment of these tests' agent.
func now() time.Time { return time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC) }

// reverted is what an agent says at 3 am.
func reverted() agent.Status {
	return agent.Status{
		App: "shop", Env: "prod", State: "reverted", Port: 8081, Started: now(), At: now().Add(90 * time.Second),
		Identity:  model.Identity{InstanceID: "i-0123456789abcdef0", Region: "eu-central-1", BootID: "b"},
		Group:     model.Membership{Group: "shop-asg", Lifecycle: model.LifecycleInService},
		InService: model.Release{Number: 1, Ref: "v1", Revision: "1111111111111111111111111111111111111111"},
		Newest:    model.Release{Number: 2, Ref: "v2", Revision: "2222222222222222222222222222222222222222"},
		Stable:    model.Release{Number: 1, Ref: "v1", Revision: "1111111111111111111111111111111111111111"},
		Doing:     []agent.Doing{{Step: "stop bootagent-shop-2-web", Phase: "stop", Since: now().Add(89 * time.Second)}},
		Problems:  map[string]string{"targets": "the role may not elasticloadbalancing:DescribeTargetHealth: add that action to its policy"},
		Failed: []agent.Failure{{
			Release: model.Release{Number: 2, Ref: "v2", Revision: "2222222222222222222222222222222222222222"},
			Reason:  "check: the process web exited with code 1; the app's last lines:\n  | no database", At: now(),
		}},
		Timeline: []timeline.Span{{Phase: "fetch", Release: 1, Start: now(), End: now().Add(2 * time.Second)}},
	}
}

// serveStatus answers as an agent until the test ends, and gives its socket.
func serveStatus(t *testing.T, s agent.Status) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- local.Serve(ctx, socket, func() any { return s }, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var got agent.Status
		err := local.Get(t.Context(), socket, &got)
		if err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestStatusSaysWhatServesAndWhatWentWrong(t *testing.T) {
	t.Parallel()
	want := reverted()
	socket := serveStatus(t, want)
	command(t, "status", "--socket", socket).expect(t, exitDone, []string{
		"shop prod", "i-0123456789abcdef0 in eu-central-1", "shop-asg, InService", "reverted",
		"release 1 (111111111111), ref v1, on port 8081",
		"targets: the role may not elasticloadbalancing:DescribeTargetHealth",
		"release 2 (222222222222)", "the process web exited with code 1", "| no database",
		"stop bootagent-shop-2-web, for 1s", "fetch",
	}, nil)
	r := command(t, "status", "--json", "--socket", socket)
	r.expect(t, exitDone, []string{"{"}, nil)
	var got agent.Status
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		t.Fatalf("%v in %s", err, r.stdout)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the status changed on its way (-agent +printed):\n%s", diff)
	}
	command(t, "timeline", "--socket", socket).expect(t, exitDone, []string{"release 1", "fetch", "2.00s"}, nil)
	r = command(t, "timeline", "--json", "--socket", socket)
	var spans []timeline.Span
	if err := json.Unmarshal([]byte(r.stdout), &spans); err != nil || len(spans) != 1 || spans[0].Phase != "fetch" {
		t.Errorf("the timeline is %s (%v)", r.stdout, err)
	}
}
