package ssm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region/fault"
	"github.com/bootagent/bootagent/internal/region/wire"
)

func TestVersions(t *testing.T) {
	t.Parallel()
	type story = func(t *testing.T, s *session.Session, prefix string)
	onEachServer(t, map[string]story{
		"releases make the parameter and its versions": func(t *testing.T, s *session.Session, prefix string) {
			p := ssm.New(s, ssm.Options{Release: prefix + "/release"})
			if _, err := p.History(t.Context(), 0); !errors.Is(err, model.ErrNoRelease) {
				t.Errorf("no model.ErrNoRelease: %v", err)
			}
			for i, value := range []string{`{"ref":"main"}`, "v2", "v3"} {
				if n, err := p.Put(t.Context(), value); err != nil || n != int64(i+1) {
					t.Errorf("%s: version %d, %v", value, n, err)
				}
			}
			label(t, p, 2)
			for limit, want := range map[int][]string{0: {"3 v3", "2 v2", `1 {"ref":"main"}`}, 2: {"3 v3", "2 v2"}, 9: {"3 v3", "2 v2", `1 {"ref":"main"}`}} {
				all, err := p.History(t.Context(), limit)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, v := range all {
					got = append(got, fmt.Sprintf("%d %s", v.Number, v.Value))
					if time.Since(v.At).Abs() > time.Minute || v.By == "" {
						t.Errorf("version %d: at %s by %q", v.Number, v.At, v.By)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%d of them: %s", limit, diff)
				}
			}
		},
	})
}

// What is asked of the region alone: moto changes the type of a parameter, which AWS does not, and takes half a minute for a hundred
// versions on a busy machine; what it answers to fewer is held above.
func TestWhatTheRegionAloneCanTell(t *testing.T) {
	t.Parallel()
	s := awstest.Session(t, awstest.Region(t).Endpoint())
	for name, story := range map[string]func(t *testing.T, s *session.Session, prefix string){
		"a secret is no release": func(t *testing.T, s *session.Session, prefix string) {
			put(t, s, prefix+"/release", "main", types.ParameterTypeSecureString)
			_, err := ssm.New(s, ssm.Options{Release: prefix + "/release"}).Put(t.Context(), "v2")
			isConfiguration(t, err)
			says(t, err, prefix+"/release is no String", "--type String")
		},
		"a history of several pages": func(t *testing.T, s *session.Session, prefix string) {
			p := ssm.New(s, ssm.Options{Release: prefix + "/release"})
			for i := range 101 {
				put(t, s, prefix+"/release", fmt.Sprint("v", i+1), types.ParameterTypeString)
			}
			all, err := p.History(t.Context(), 0)
			// The SDK may have put one a second time, where an answer was slow: a version more.
			if err != nil || len(all) != 100 || all[0].Value != "v101" || all[0].Number < 101 || all[0].Number-all[99].Number != 99 {
				t.Fatalf("%d versions, %v", len(all), err)
			}
		},
		"a labeled oldest version makes no room": func(t *testing.T, s *session.Session, prefix string) {
			name := prefix + "/release"
			p := ssm.New(s, ssm.Options{Release: name})
			for i := range 100 {
				put(t, s, name, fmt.Sprint("v", i+1), types.ParameterTypeString)
			}
			label(t, p, 1) // not earlier: moto would refuse the hundredth version then
			_, err := p.Put(t.Context(), "v101")
			isConfiguration(t, err)
			says(t, err, name+" has its 100 versions", "carries a label, stable", "unlabel-parameter-version --name "+name+" --labels stable")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t, s, "/"+strings.ReplaceAll(name, " ", "-"))
		})
	}
}

// What becomes of a put whose answer is lost is found out before it is put again.
func TestOnePutMakesOneVersion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		effect fault.Effect
		count  int
		puts   int
	}{
		"the answer is lost":           {fault.CutAfter(), 1, 1},
		"AWS fails after the fact":     {after(fault.ServerError()), 1, 1},
		"the request is lost":          {fault.CutBefore(), 1, 2},
		"AWS fails before, twice":      {fault.ServerError(), 2, 3},
		"throttled":                    {fault.Throttle(), 2, 3},
		"two updates at the same time": {fault.Fail(wire.Errorf("TooManyUpdates", "There are concurrent updates.")), 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _, p := shop(t)
			rule := r.Faults.Add(fault.Rule{Operation: "PutParameter", Count: c.count, Effect: c.effect})
			var n int64
			var err error
			if puts := count(r, "ssm:PutParameter", func() { n, err = p.Put(t.Context(), "v3") }); puts != c.puts || rule.Hits() != c.count {
				t.Errorf("it was put %d times", puts)
			}
			if err != nil || n != 3 {
				t.Errorf("version %d, %v", n, err)
			}
			read(t, p, model.Published{Newest: model.Version{Number: 3, Value: "v3"}, Stable: both.Stable})
		})
	}
}

// after carries the call out, and answers as the effect does.
func after(effect fault.Effect) fault.Effect {
	return func(ctx context.Context, call wire.Call, next func() (any, error)) (any, error) {
		if _, err := next(); err != nil {
			return nil, err
		}
		return effect(ctx, call, next)
	}
}

// A branch's name is put again and again: an older version of it is not the one that is looked for.
func TestAnOlderVersionOfTheSameValueIsNotOurs(t *testing.T) {
	t.Parallel()
	r, _, p := shop(t)
	r.Faults.Add(fault.Rule{Operation: "PutParameter", Count: 1, Effect: fault.CutBefore()})
	if n, err := p.Put(t.Context(), "v2"); err != nil || n != 3 {
		t.Errorf("version %d, %v", n, err)
	}
}

// Somebody else's release came in between: ours is a version all the same.
func TestAPutThatWasOvertakenIsFound(t *testing.T) {
	t.Parallel()
	r, s, p := shop(t)
	r.Faults.Add(fault.Rule{Operation: "PutParameter", Count: 1, Effect: func(ctx context.Context, call wire.Call, next func() (any, error)) (any, error) {
		if _, err := next(); err != nil {
			return nil, err
		}
		_, err := sdk.NewFromConfig(s.Config).PutParameter(ctx, &sdk.PutParameterInput{
			Name: aws.String(release), Value: aws.String("theirs"), Overwrite: aws.Bool(true)})
		if err != nil {
			return nil, err
		}
		return fault.ServerError()(ctx, call, next)
	}})
	if n, err := p.Put(t.Context(), "ours"); err != nil || n != 3 {
		t.Errorf("version %d, %v", n, err)
	}
	read(t, p, model.Published{Newest: model.Version{Number: 4, Value: "theirs"}, Stable: both.Stable})
}

func TestAPutThatFailsSaysWhatIsKnown(t *testing.T) {
	t.Parallel()
	t.Run("no version was made", func(t *testing.T) {
		t.Parallel()
		r, _, p := shop(t)
		r.Faults.Add(fault.Rule{Operation: "PutParameter", Effect: fault.ServerError()})
		_, err := p.Put(t.Context(), "v3")
		says(t, err, "ssm:PutParameter on parameter "+release, "HTTP 500", "tried 3 times", "none of them made a version")
	})
	t.Run("nobody knows", func(t *testing.T) {
		t.Parallel()
		r, _, p := shop(t)
		r.Faults.Add(fault.Rule{Operation: "PutParameter", Effect: fault.CutAfter()})
		r.Faults.Add(fault.Rule{Operation: "GetParameterHistory", Effect: fault.Deny()})
		_, err := p.Put(t.Context(), "v3")
		says(t, err, "whether parameter "+release+" has that version now is not known", "may not ssm:GetParameterHistory", "look at its history")
		if errors.Is(err, model.ErrConfiguration) {
			t.Error("an error that says that nothing was done")
		}
	})
	t.Run("called off", func(t *testing.T) {
		t.Parallel()
		r, _, p := shop(t)
		ctx, cancel := context.WithCancel(t.Context())
		r.Faults.Add(fault.Rule{Operation: "PutParameter", Effect: func(context.Context, wire.Call, func() (any, error)) (any, error) {
			cancel()
			<-t.Context().Done()
			return nil, context.Canceled
		}})
		_, err := p.Put(ctx, "v3")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		says(t, err, "is not known")
	})
	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		r, _, p := shop(t)
		r.Faults.Add(fault.Rule{Operation: "PutParameter", Effect: fault.Deny()})
		r.Faults.Add(fault.Rule{Operation: "GetParameterHistory", Effect: fault.Deny()})
		_, err := p.Put(t.Context(), "v3")
		isConfiguration(t, err)
		says(t, err, "may not ssm:PutParameter on parameter "+release)
		_, err = p.History(t.Context(), 0)
		isConfiguration(t, err)
		says(t, err, "may not ssm:GetParameterHistory on parameter "+release)
	})
	t.Run("the history does not end", func(t *testing.T) {
		t.Parallel()
		r, _, p := shop(t)
		r.Faults.Add(fault.Rule{Operation: "GetParameterHistory", Effect: func(context.Context, wire.Call, func() (any, error)) (any, error) {
			return map[string]any{"Parameters": []any{}, "NextToken": "again"}, nil
		}})
		_, err := p.History(t.Context(), 0)
		says(t, err, "does not end")
	})
}
