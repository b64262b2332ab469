package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/test/traffic"
)

// TestNothingThatHappensToTheAgentCostsARequest does to the agent of one instance what happens in its life, under load. None of it
// touches the app, until a release replaces it.
func TestNothingThatHappensToTheAgentCostsARequest(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "serving")
	first := f.release()
	f.launch()
	i := f.only()
	f.stable(i, first)
	web := i.web()
	load := traffic.Start(t, f.url())
	pid := i.show("bootagent", "MainPID")

	for _, event := range []struct {
		name   string
		happen func()
	}{
		{"a restart of the agent", func() { i.do("systemctl", "restart", "bootagent") }},
		{"the death of the agent", func() { i.do("kill", "-KILL", pid) }},
		{"the death of all in its control group", func() { i.do("systemctl", "kill", "--signal=KILL", "bootagent") }},
		{"an upgrade of its package", func() {
			if err := i.Copy(t.Context(), packages.second, "/root/bootagent.deb"); err != nil {
				t.Fatal(err)
			}
			i.do("apt-get", "-qq", "install", "/root/bootagent.deb")
		}},
	} {
		event.happen()
		f.until("after "+event.name+" it is back, and in service", func(ctx context.Context) error {
			now, err := i.Exec(ctx, "systemctl", "show", "--property=MainPID", "--value", "bootagent")
			if err != nil {
				return err
			}
			if now == pid+"\n" || now == "0\n" {
				return fmt.Errorf("the agent's process is %q, and was %q", now, pid)
			}
			return i.settled(ctx, first)
		})
		if now := i.web(); now != web {
			t.Errorf("%s: the app was %v, and is %v", event.name, web, now)
		}
		pid = i.show("bootagent", "MainPID")
	}
	if version := i.do("bootagent", "version"); !strings.HasPrefix(version, "bootagent 1.1.0 ") {
		t.Errorf("after the upgrade it is %q", version)
	}

	second := f.release()
	f.settled(i, second)
	if now := i.web(); now.port == web.port {
		t.Errorf("the new release is on the old one's port %d: nothing was handed over", now.port)
	}
	if answers := load.Stop(); answers["1"] == 0 || answers["2"] == 0 {
		t.Errorf("both releases should have answered: %v", answers)
	}
	if err := i.early(); err != nil {
		t.Error(err)
	}
}

// early says which requests came to the app before it had passed its checks.
func (i *instance) early() error {
	var said struct {
		Early  []string
		Passed int
	}
	if err := i.ask(i.web().port, "/early", &said); err != nil {
		return err
	}
	if len(said.Early) > 0 {
		return fmt.Errorf("the app of %s got requests before it had passed its checks: %v", i.id, said.Early)
	}
	if said.Passed < 2 {
		return errors.New("the app was never checked")
	}
	return nil
}
