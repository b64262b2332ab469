package deploy_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy"
	"github.com/bootagent/bootagent/internal/timeline"
)

// store is a Parameter Store with these variables.
type store struct {
	values map[string]string
	err    error
}

func (s store) Environment(context.Context) (map[string]string, error) { return s.values, s.err }

func TestABuildThatNamesASecretGetsThatOneAndLeavesItNowhere(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{
		rev("a"): {"bootagent.yaml": "version: 1\nprocesses: {web: x}\nbuild:\n  secrets: [NPM_TOKEN]\n  run: 'test ${#NPM_TOKEN} = 15 && test -z \"$OTHER\" && env && echo $NPM_TOKEN > $HOME/.npmrc'\n"},
		rev("b"): {"bootagent.yaml": "version: 1\nprocesses: {web: x}\nbuild:\n  secrets: [NPM_TOKEN]\n  run: echo $NPM_TOKEN > .npmrc\n"},
	}}
	m := machine(t, src, func(o *deploy.Options) {
		o.Secrets = store{values: map[string]string{"NPM_TOKEN": "hunter2-hunter2", "OTHER": "another-secret"}}
	})
	spans := timeline.New(time.Now)
	if _, err := m.Prepare(t.Context(), release(1, "a"), spans); err != nil {
		t.Fatal(err)
	}
	_, err := m.Prepare(t.Context(), release(2, "b"), spans)
	var bad *deploy.RevisionError
	if !errors.As(err, &bad) || bad.Phase != "build" || !strings.Contains(err.Error(), "the build left the secret NPM_TOKEN in .npmrc: ") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	for _, s := range spans.All() {
		if strings.Contains(s.Error, "hunter2") {
			t.Errorf("span %+v", s)
		}
	}
	err = filepath.WalkDir(m.StateDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "hunter2") {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestASecretThatABuildCannotHaveIsNotItsFault(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		secrets deploy.Secrets
		want    string
	}{
		{"missing", store{}, "the build wants the secret NPM_TOKEN (build.secrets), and there is no parameter /bootagent/shop/prod/env/NPM_TOKEN: make it, with aws ssm put-parameter --name /bootagent/shop/prod/env/NPM_TOKEN"},
		{"short", store{values: map[string]string{"NPM_TOKEN": "1234567"}}, "has less than 8 bytes"},
		{"out of reach", store{err: errors.New("may not ssm:GetParametersByPath")}, "read the build's secrets: may not ssm:GetParametersByPath"},
		{"none", nil, "build.secrets names NPM_TOKEN, and this agent reads no secrets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			src := &trees{of: map[string]map[string]string{rev("a"): {"bootagent.yaml": "version: 1\nprocesses: {web: x}\nbuild: {run: touch built, secrets: [NPM_TOKEN]}\n"}}}
			m := machine(t, src, func(o *deploy.Options) { o.Secrets, o.SecretsPath = c.secrets, "/bootagent/shop/prod/env" })
			_, err := m.Prepare(t.Context(), release(1, "a"), nil)
			var bad *deploy.RevisionError
			if err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "1234567") {
				t.Errorf("got %v", err)
			}
			if left := onDisk(t, m); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
