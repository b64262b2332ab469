package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/internal/unit"
)

func TestTheAppIsKeptInItsSandbox(t *testing.T) {
	t.Parallel()
	u := unit.Spec{Name: "web", Command: []string{"bin/web"}}
	walled := Sandbox{User: "shop", Home: "/state/home", Shared: "/state/shared", Walled: true}
	if got := walled.keep(u, true); got.User != "shop" || got.Metadata || !slices.Equal(got.Writable, []string{"/state/home", "/state/shared"}) {
		t.Errorf("got %+v", got)
	}
	if got := walled.keep(u, false); !slices.Equal(got.Writable, []string{"/state/home"}) {
		t.Errorf("an app that shares nothing may write %v", got.Writable)
	}
	if got := (Sandbox{Home: "/state/home", Metadata: true}).keep(u, true); got.User != "" || !got.Metadata || got.Writable != nil {
		t.Errorf("on a laptop: %+v", got)
	}
}

func TestAnAppThatLooksForCredentialsIsToldOfTheSetting(t *testing.T) {
	t.Parallel()
	const lost = "botocore.exceptions.NoCredentialsError: Unable to locate credentials"
	walled := Sandbox{Walled: true}
	if hint := walled.hint(lost); !strings.Contains(hint, "set credentials") {
		t.Errorf("got %q", hint)
	}
	for name, s := range map[string]Sandbox{"it gets some": {Walled: true, Credentials: true}, "there is no wall": {}} {
		if hint := s.hint(lost); hint != "" {
			t.Errorf("%s, and is told %q", name, hint)
		}
	}
	if hint := walled.hint("connection refused by 10.0.0.1"); hint != "" {
		t.Errorf("another failure is told %q", hint)
	}
}
