package ssm_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/fault"
)

func TestTheHistoryBeginsWithTheNewestAndTellsWhoWroteIt(t *testing.T) {
	t.Parallel()
	r := openRegion(t)
	p := ssm.New(awstest.Session(t, r.Endpoint()), ssm.Options{Release: "/history/release"})
	if _, err := p.History(t.Context(), 0); !errors.Is(err, model.ErrNoRelease) {
		t.Errorf("a parameter that is not there gives %v", err)
	}
	for n := int64(1); n <= 60; n++ { // more than a page
		if got, err := p.Put(t.Context(), fmt.Sprintf("v%d", n)); err != nil || got != n {
			t.Fatalf("put %d: got %d, %v", n, got, err)
		}
	}
	all, err := p.History(t.Context(), 0)
	if err != nil || len(all) != 60 || all[0].Number != 60 || all[59].Value != "v1" {
		t.Fatalf("got %d versions, %v", len(all), err)
	}
	if v := all[0]; v.Value != "v60" || v.By == "" || time.Since(v.At) > time.Hour {
		t.Errorf("got %+v", v)
	}
	if some, err := p.History(t.Context(), 3); err != nil || len(some) != 3 || some[2].Number != 58 {
		t.Errorf("got %+v, %v", some, err)
	}
}

func TestAPutWhoseAnswerIsLostMakesOneVersion(t *testing.T) {
	t.Parallel()
	for name, effect := range map[string]fault.Effect{"the answer is lost": fault.CutAfter(), "it never arrives": fault.CutBefore(), "it is throttled": fault.Throttle()} {
		r := openRegion(t)
		p := ssm.New(awstest.Session(t, r.Endpoint()), ssm.Options{Release: "/put/release"})
		r.Faults.Add(fault.Rule{Service: "ssm", Operation: "PutParameter", Count: 1, Effect: effect})
		number, err := p.Put(t.Context(), `{"schema":1,"ref":"main","lock":"n-1"}`)
		if err != nil || number != 1 {
			t.Errorf("%s: got version %d, %v", name, number, err)
		}
		if all, err := p.History(t.Context(), 0); err != nil || len(all) != 1 {
			t.Errorf("%s: there are %d versions (%v)", name, len(all), err)
		}
	}
}

func TestAPutThatIsNotAllowedIsSaidAndNotTriedAgain(t *testing.T) {
	t.Parallel()
	r := openRegion(t)
	p := ssm.New(awstest.Session(t, r.Endpoint()), ssm.Options{Release: "/denied/release"})
	r.Faults.Add(fault.Rule{Service: "ssm", Operation: "PutParameter", Effect: fault.Deny()})
	_, err := p.Put(t.Context(), "main")
	says(t, err, "ssm:PutParameter", "/denied/release")
	isConfiguration(t, err)
}
