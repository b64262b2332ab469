package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/model"
)

// parameters is Parameter Store as one instance sees it.
type parameters struct {
	environment map[string]string
	err         error
}

func (p parameters) Read(context.Context) (model.Published, error)         { return model.Published{}, p.err }
func (p parameters) Label(context.Context, int64) error                    { return p.err }
func (p parameters) History(context.Context, int) ([]model.Version, error) { return nil, p.err }
func (p parameters) Environment(context.Context) (map[string]string, error) {
	return p.environment, p.err
}

func TestWhatAnAppSaysIsShownWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	a := New(Options{Log: zap.NewNop(), Parameters: parameters{environment: map[string]string{
		"DATABASE_URL": "postgres://app:hunter2@db/shop", "DEBUG": "true",
	}}})
	got := a.masked(t.Context(), "can't connect to postgres://app:hunter2@db/shop; debug is true")
	if want := "can't connect to [DATABASE_URL]; debug is true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatAnAppInServiceAnswersIsShownWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	a := New(Options{Log: zap.NewNop(), Parameters: parameters{environment: map[string]string{"TOKEN": "hunter2hunter2"}}})
	err := a.maskedProbe(func(context.Context) error { return errors.New("answered 500: hunter2hunter2") })(t.Context())
	if err == nil || err.Error() != "answered 500: [TOKEN]" {
		t.Errorf("got %v", err)
	}
	if err := a.maskedProbe(func(context.Context) error { return nil })(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestASecretThatWasChangedIsStillMasked(t *testing.T) {
	t.Parallel()
	environment := map[string]string{"TOKEN": "hunter2hunter2"}
	a := New(Options{Log: zap.NewNop(), Parameters: parameters{environment: environment}})
	for _, value := range []string{"hunter3hunter3", "hunter4hunter4"} {
		if _, err := a.readSecrets(t.Context()); err != nil {
			t.Fatal(err)
		}
		environment["TOKEN"] = value
	}
	if got := a.masked(t.Context(), "hunter2hunter2 hunter3hunter3"); got != "[TOKEN] [TOKEN]" {
		t.Errorf("got %q", got)
	}
}

func TestWhatAnAppSaysIsWithheldWhereItsSecretsCannotBeRead(t *testing.T) {
	t.Parallel()
	a := New(Options{Log: zap.NewNop(), Parameters: parameters{err: errors.New("no network")}})
	got := a.masked(t.Context(), "hunter2")
	if strings.Contains(got, "hunter2") || !strings.Contains(got, "no network") {
		t.Errorf("got %q", got)
	}
}

func TestAReleaseOfAnotherRepositoryIsRefused(t *testing.T) {
	t.Parallel()
	a := New(Options{Log: zap.NewNop(), Repository: "https://git.example.org/shop.git"})
	got, err := a.intent(model.Version{Number: 7, Value: `{"schema":1,"ref":"main","repository":"https://elsewhere.example.org/x.git"}`})
	if err == nil || !strings.Contains(err.Error(), "version 7") || got.Ref != "" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := a.intent(model.Version{Number: 7, Value: `{"schema":1,"ref":"main","by":"ann","message":"hi"}`}); err != nil || got.Ref != "main" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestTheMemoryOfAnotherParameterIsForgotten(t *testing.T) {
	t.Parallel()
	_, _, m := scenery(settled()...)
	m.InstanceID, m.BootID, m.Parameter, m.InService = "i-1", "b", "/a/release", one
	id := model.Identity{InstanceID: "i-1", BootID: "b"}
	if same := m.On(id, "/a/release"); same.InService != one || !same.Serving {
		t.Errorf("the same parameter: got %+v", same)
	}
	if other := m.On(id, "/b/release"); !other.InService.IsZero() || other.Parameter != "/b/release" {
		t.Errorf("another parameter: got %+v", other)
	}
}

func TestWhatServesIsStartedAgainAlsoWhereParameterStoreCannotBeReached(t *testing.T) {
	t.Parallel()
	store := &parameters{environment: map[string]string{"TOKEN": "hunter2hunter2"}}
	a := New(Options{Log: zap.NewNop(), Parameters: store})
	serves := Memory{InService: one, Serving: true}
	if _, err := a.secretsFor(t.Context(), serves, one); err != nil {
		t.Fatal(err)
	}
	store.err = errors.New("no network")
	if got, err := a.secretsFor(t.Context(), serves, one); err != nil || got["TOKEN"] != "hunter2hunter2" {
		t.Errorf("what serves gets %v, %v", got, err)
	}
	if got, err := a.secretsFor(t.Context(), serves, two); err == nil {
		t.Errorf("another release gets %v", got)
	}
	asleep := serves
	asleep.Serving = false
	if got, err := a.secretsFor(t.Context(), asleep, one); err == nil {
		t.Errorf("what served before the boot gets %v", got)
	}
}

func TestAStartTakesTheEnvironmentThatWasReadWhileItsReleaseWasPrepared(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	environment := map[string]string{"PLAN": "first"}
	a := New(Options{Log: zap.NewNop(), Now: func() time.Time { return now }, Parameters: parameters{environment: environment}})
	seven, eight := model.Release{Number: 7, Revision: "a"}, model.Release{Number: 8, Revision: "b"}
	reads := func(rel model.Release) string {
		t.Helper()
		got, err := a.secretsFor(t.Context(), Memory{}, rel)
		if err != nil {
			t.Fatal(err)
		}
		return got["PLAN"]
	}
	a.readAhead(t.Context(), seven)
	a.Parameters = parameters{environment: map[string]string{"PLAN": "second"}}
	if got := reads(seven); got != "first" {
		t.Errorf("a start at once reads %q again", got)
	}
	if got := reads(eight); got != "second" {
		t.Errorf("another release gets %q", got)
	}
	a.Parameters = parameters{environment: map[string]string{"PLAN": "third"}}
	now = now.Add(ahead + time.Second)
	if got := reads(seven); got != "third" {
		t.Errorf("long after it gets %q", got)
	}
}

func TestAReadAheadThatFailsIsTheStartsToTell(t *testing.T) {
	t.Parallel()
	away := errors.New("no network")
	a := New(Options{Log: zap.NewNop(), Parameters: parameters{err: away}})
	seven := model.Release{Number: 7, Revision: "a"}
	a.readAhead(t.Context(), seven)
	if _, err := a.secretsFor(t.Context(), Memory{}, seven); !errors.Is(err, away) {
		t.Errorf("the start got %v", err)
	}
}
