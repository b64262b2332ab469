package ssm_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/internal/aws/awstest"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/aws/ssm"
	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/region"
)

// onEachServer runs a story against moto and against the region. Parameters' names begin with the story's own prefix.
func onEachServer(t *testing.T, stories map[string]func(t *testing.T, s *session.Session, prefix string)) {
	servers := map[string]func(*testing.T) string{
		"moto":   func(t *testing.T) string { return awstest.Moto(t) },
		"region": func(t *testing.T) string { return awstest.Region(t).Endpoint() },
	}
	for server, start := range servers {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			s := awstest.Session(t, start(t))
			for name, story := range stories {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					story(t, s, "/bootagent/"+strings.ReplaceAll(name, " ", "-"))
				})
			}
		})
	}
}

func put(t *testing.T, s *session.Session, name, value string, kind types.ParameterType) int64 {
	t.Helper()
	out, err := sdk.NewFromConfig(s.Config).PutParameter(t.Context(), &sdk.PutParameterInput{
		Name: &name, Value: &value, Type: kind, Overwrite: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Version
}

func read(t *testing.T, p *ssm.Parameters, want model.Published) {
	t.Helper()
	got, err := p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func says(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

func isConfiguration(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, model.ErrConfiguration) {
		t.Errorf("no model.ErrConfiguration: %v", err)
	}
}

func TestParameters(t *testing.T) {
	t.Parallel()
	type story = func(t *testing.T, s *session.Session, prefix string)
	onEachServer(t, map[string]story{
		"no release yet": func(t *testing.T, s *session.Session, prefix string) {
			p := ssm.New(s, ssm.Options{Release: prefix + "/release"})
			_, err := p.Read(t.Context())
			if !errors.Is(err, model.ErrNoRelease) || errors.Is(err, model.ErrConfiguration) {
				t.Errorf("%v", err)
			}
			says(t, err, prefix+"/release does not exist in us-east-1", "aws ssm put-parameter --name "+prefix+"/release --type String")
			if err := p.Label(t.Context(), 1); !errors.Is(err, model.ErrNoRelease) {
				t.Errorf("label: %v", err)
			}
		},
		"the newest and the stable version": func(t *testing.T, s *session.Session, prefix string) {
			p := ssm.New(s, ssm.Options{Release: prefix + "/release"})
			put(t, s, prefix+"/release", "main", types.ParameterTypeString)
			read(t, p, model.Published{Newest: model.Version{Number: 1, Value: "main"}})

			label(t, p, 1)
			read(t, p, model.Published{Newest: model.Version{Number: 1, Value: "main"}, Stable: &model.Version{Number: 1, Value: "main"}})

			put(t, s, prefix+"/release", "v2", types.ParameterTypeString)
			read(t, p, model.Published{Newest: model.Version{Number: 2, Value: "v2"}, Stable: &model.Version{Number: 1, Value: "main"}})

			label(t, p, 2)
			label(t, p, 2) // again: no error
			read(t, p, model.Published{Newest: model.Version{Number: 2, Value: "v2"}, Stable: &model.Version{Number: 2, Value: "v2"}})

			label(t, p, 1) // back
			read(t, p, model.Published{Newest: model.Version{Number: 2, Value: "v2"}, Stable: &model.Version{Number: 1, Value: "main"}})
		},
		"a label on a version that is not there": func(t *testing.T, s *session.Session, prefix string) {
			p := ssm.New(s, ssm.Options{Release: prefix + "/release"})
			put(t, s, prefix+"/release", "main", types.ParameterTypeString)
			says(t, p.Label(t.Context(), 7), "version 7 of parameter "+prefix+"/release is gone")
			says(t, p.Label(t.Context(), 0), "versions start at 1")
		},
		"a release is no secret": func(t *testing.T, s *session.Session, prefix string) {
			put(t, s, prefix+"/release", "main", types.ParameterTypeSecureString)
			_, err := ssm.New(s, ssm.Options{Release: prefix + "/release"}).Read(t.Context())
			isConfiguration(t, err)
			says(t, err, prefix+"/release is a SecureString", "--type String")
		},
		"an environment of several pages": func(t *testing.T, s *session.Session, prefix string) {
			want := map[string]string{"DATABASE_URL": "postgres://u:p@h/d?x=y", "_x": "multi\nline"}
			put(t, s, prefix+"/env/DATABASE_URL", want["DATABASE_URL"], types.ParameterTypeSecureString)
			put(t, s, prefix+"/env/_x", want["_x"], types.ParameterTypeString)
			for i := range 23 {
				name := fmt.Sprintf("V%d", i)
				want[name] = fmt.Sprint(i)
				put(t, s, prefix+"/env/"+name, want[name], types.ParameterTypeString)
			}
			put(t, s, prefix+"/environment/OTHER", "not below the path", types.ParameterTypeString)
			for _, path := range []string{prefix + "/env", prefix + "/env/"} {
				got, err := ssm.New(s, ssm.Options{Environment: path}).Environment(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		},
		"no environment": func(t *testing.T, s *session.Session, prefix string) {
			for _, path := range []string{"", prefix + "/env"} {
				got, err := ssm.New(s, ssm.Options{Environment: path}).Environment(t.Context())
				if err != nil || len(got) != 0 {
					t.Errorf("path %q: %v, %v", path, got, err)
				}
			}
		},
		"no variables": func(t *testing.T, s *session.Session, prefix string) {
			put(t, s, prefix+"/deep/a/B", "x", types.ParameterTypeString)
			put(t, s, prefix+"/dash/A-B", "x", types.ParameterTypeString)
			put(t, s, prefix+"/digit/1A", "x", types.ParameterTypeString)
			for path, words := range map[string][]string{
				prefix + "/deep":  {prefix + "/deep/a/B lies deeper than " + prefix + "/deep"},
				prefix + "/dash":  {prefix + "/dash/A-B can't be a variable"},
				prefix + "/digit": {prefix + "/digit/1A can't be a variable"},
				"relative":        {`"relative"`, "must start with /"},
				"/":               {"name a folder"},
			} {
				_, err := ssm.New(s, ssm.Options{Environment: path}).Environment(t.Context())
				isConfiguration(t, err)
				says(t, err, words...)
			}
		},
		"a secret": func(t *testing.T, s *session.Session, prefix string) {
			put(t, s, prefix+"/token", "ghp_x", types.ParameterTypeSecureString)
			p := ssm.New(s, ssm.Options{})
			got, err := p.Secret(t.Context(), prefix+"/token")
			if err != nil || got != "ghp_x" {
				t.Errorf("%q, %v", got, err)
			}
			_, err = p.Secret(t.Context(), prefix+"/tokens")
			isConfiguration(t, err)
			says(t, err, prefix+"/tokens does not exist", "--type SecureString")
		},
	})
}

func label(t *testing.T, p *ssm.Parameters, version int64) {
	t.Helper()
	if err := p.Label(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

// count gives the number of calls of an operation that f makes.
func count(r *region.Region, operation string, f func()) int {
	before := r.Counts()[operation]
	f()
	return r.Counts()[operation] - before
}
