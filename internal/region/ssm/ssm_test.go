package ssm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bootagent/bootagent/internal/region/ssm"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// What the service answers is told in test/contract, where moto is asked too.
// Here is what must hold whatever was called before.

type history struct {
	Parameters []struct {
		Version          int64
		Labels           []string
		LastModifiedDate float64
		LastModifiedUser string
	}
}

// call sends a document to the store and decodes the answer as a client would.
func call(store *ssm.Store, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := store.Serve(context.Background(), wire.Call{
		Service: ssm.Name, Operation: operation, Body: body, Principal: wire.Principal{ARN: "arn:person"},
	})
	if err != nil || out == nil {
		return err
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

type m = map[string]any

func TestVersionsAreInARowAndALabelSitsOnOneOfThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store := ssm.New(ssm.Options{})
		newest := int64(0) // what a client would expect, 0 for no parameter
		label := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"})
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				var out struct{ Version int64 }
				for range rapid.SampledFrom([]int{1, 1, 40}).Draw(t, "times") {
					err := call(store, "PutParameter", m{"Name": "/x", "Type": "String", "Value": "v", "Overwrite": true}, &out)
					var e *wire.Error
					if errors.As(err, &e) && e.Code == "ParameterMaxVersionLimitExceeded" {
						return
					}
					if err != nil || out.Version != newest+1 {
						t.Fatalf("version %d after %d, %v", out.Version, newest, err)
					}
					newest = out.Version
				}
			},
			"label": func(t *rapid.T) {
				version := rapid.Int64Range(max(1, newest-3), newest+1).Draw(t, "version")
				in := m{"Name": "/x", "ParameterVersion": version, "Labels": rapid.SliceOfN(label, 1, 10).Draw(t, "labels")}
				if err := call(store, "LabelParameterVersion", in, nil); (err == nil) && version > newest {
					t.Fatalf("version %d of %d was labelled", version, newest)
				}
			},
			"unlabel": func(t *rapid.T) {
				_ = call(store, "UnlabelParameterVersion", m{"Name": "/x", "ParameterVersion": newest, "Labels": []string{label.Draw(t, "label")}}, nil)
			},
			"delete": func(t *rapid.T) {
				if err := call(store, "DeleteParameter", m{"Name": "/x"}, nil); (err == nil) != (newest > 0) {
					t.Fatalf("delete at version %d: %v", newest, err)
				}
				newest = 0
			},
			"": func(t *rapid.T) { check(t, store, newest) },
		})
	})
}

func check(t *rapid.T, store *ssm.Store, newest int64) {
	if newest == 0 {
		return
	}
	var all history
	for token := ""; ; {
		var page struct {
			history
			NextToken string
		}
		if err := call(store, "GetParameterHistory", m{"Name": "/x", "MaxResults": 50, "NextToken": token}, &page); err != nil {
			t.Fatal(err)
		}
		all.Parameters = append(all.Parameters, page.Parameters...)
		if token = page.NextToken; token == "" {
			break
		}
	}
	if n := len(all.Parameters); n > 100 || all.Parameters[n-1].Version != newest {
		t.Fatalf("%d versions up to %d, want up to %d", n, all.Parameters[n-1].Version, newest)
	}
	on := map[string]int64{}
	for i, v := range all.Parameters {
		if i > 0 && v.Version != all.Parameters[i-1].Version+1 {
			t.Fatalf("version %d follows %d", v.Version, all.Parameters[i-1].Version)
		}
		if len(v.Labels) > 10 {
			t.Fatalf("version %d has %d labels", v.Version, len(v.Labels))
		}
		for _, label := range v.Labels {
			if other, twice := on[label]; twice {
				t.Fatalf("%s sits on %d and %d", label, other, v.Version)
			}
			on[label] = v.Version
		}
	}
}

func TestAVersionSaysWhenAndByWhomItWasPut(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_800_000_000_250)
	store := ssm.New(ssm.Options{Clock: func() time.Time { return at }})
	if err := call(store, "PutParameter", m{"Name": "/x", "Type": "String", "Value": "v"}, nil); err != nil {
		t.Fatal(err)
	}
	var got history
	if err := call(store, "GetParameterHistory", m{"Name": "/x"}, &got); err != nil {
		t.Fatal(err)
	}
	if v := got.Parameters[0]; v.LastModifiedDate != 1_800_000_000.25 || v.LastModifiedUser != "arn:person" {
		t.Errorf("put at %f by %s", v.LastModifiedDate, v.LastModifiedUser)
	}
}

// A member that is dropped in silence here is one that AWS would obey.
func TestAMemberThatIsNotKnownIsRefused(t *testing.T) {
	t.Parallel()
	err := call(ssm.New(ssm.Options{}), "GetParameter", m{"Name": "/x", "Colour": "red"}, nil)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != "SerializationException" {
		t.Errorf("got %v", err)
	}
	for _, operation := range []string{"CreateDocument", "SendCommand"} {
		if err := call(ssm.New(ssm.Options{}), operation, m{}, nil); !errors.As(err, &e) || e.Code != "UnknownOperationException" {
			t.Errorf("%s: %v", operation, fmt.Sprint(err))
		}
	}
}
