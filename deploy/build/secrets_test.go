package build_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/deploy/build"
	"github.com/bootagent/bootagent/internal/unit"
)

const token = "npm_hunter2+hunter2/x"

func TestABuildSeesTheSecretsThatItNamesAndItsLogDoesNot(t *testing.T) {
	t.Parallel()
	// One write after the other, so that the log gets it in pieces.
	j := job(t, `test "$NPM_TOKEN" = "`+token+`" || exit 9; echo "//registry/:_authToken=$NPM_TOKEN" > $HOME/.npmrc; printf '%s' "${NPM_TOKEN%hunter2/x}"; sleep 0.1; `+
		`echo hunter2/x; printf "$NPM_TOKEN" | base64; echo "fetch https://u:$NPM_TOKEN@registry failed" >&2; exit ${CODE:-0}`)
	j.Secrets = map[string]string{"NPM_TOKEN": token}
	if err := build.Run(t.Context(), runner(t), j); err != nil {
		t.Fatal(err)
	}
	want := "[NPM_TOKEN]\n[NPM_TOKEN]\nfetch https://u:[NPM_TOKEN]@registry failed\n"
	if got := logged(t, j); strings.ReplaceAll(got, "=", "") != want {
		t.Errorf("the log says %q", got)
	}
	j.Build.Environment = map[string]string{"CODE": "1"}
	var failed *build.Error
	if err := build.Run(t.Context(), runner(t), j); !errors.As(err, &failed) || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "u:[NPM_TOKEN]@registry") {
		t.Errorf("got %v", err)
	}
}

func TestASecretThatABuildLeavesIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, command, path string }{
		{"in a file of another directory", `mkdir -p ../lib && echo "_authToken=$NPM_TOKEN" > ../lib/.npmrc`, "lib/.npmrc"},
		{"in the middle of a large one", `head -c 3000000 /dev/zero > big; printf "$NPM_TOKEN" >> big; head -c 3000000 /dev/zero >> big`, "app/big"},
		{"behind a user, in base64", `printf "x:$NPM_TOKEN" | base64 > auth`, "app/auth"},
		{"in a file's name", `touch "cache-$NPM_TOKEN"`, "app/cache-[NPM_TOKEN]"},
		{"in a link", `ln -s "/tmp/$NPM_TOKEN" link`, "app/link"},
		{"in a file that only its owner reads", `umask 077; echo "$NPM_TOKEN" > key; chmod 400 key`, "app/key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := job(t, c.command)
			j.Tree = filepath.Dir(j.Dir)
			j.Secrets = map[string]string{"NPM_TOKEN": token}
			if strings.Contains(c.path, "[") {
				j.Secrets["NPM_TOKEN"] = "hunter2-hunter2" // no slash, for a name
			}
			err := build.Run(t.Context(), runner(t), j)
			var leak *build.LeakError
			if !errors.As(err, &leak) || leak.Secret != "NPM_TOKEN" || leak.Path != c.path || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestABuildThatLeavesNoSecretPasses(t *testing.T) {
	t.Parallel()
	j := job(t, `echo "$NPM_TOKEN" > $HOME/.npmrc; echo "$NPM_TOKEN" > $TMPDIR/x; mkfifo pipe; mkdir -p a/b; echo npm_hunter > a/b/c; ln -s / root`)
	j.Secrets = map[string]string{"NPM_TOKEN": token}
	if err := build.Run(t.Context(), runner(t), j); err != nil {
		t.Error(err)
	}
}

// does is a runner whose builds are functions.
type does func(s unit.Spec) error

func (d does) Run(_ context.Context, s unit.Spec, _ io.Writer) error { return d(s) }

func TestTheSearchForSecretsEndsInTime(t *testing.T) {
	t.Parallel()
	j := job(t, "make")
	j.Secrets = map[string]string{"NPM_TOKEN": token}
	j.Build.Timeout = 100 * time.Millisecond
	err := build.Run(t.Context(), does(func(s unit.Spec) error {
		return os.Truncate(file(t, filepath.Join(s.Dir, "sparse")), 1<<42) // 4 TiB, all of it a hole
	}), j)
	var failed *build.Error
	var leak *build.LeakError
	if err == nil || errors.As(err, &failed) || errors.As(err, &leak) || !strings.Contains(err.Error(), "took longer than build.timeout, 100ms") {
		t.Errorf("got %v", err)
	}
}

func file(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
