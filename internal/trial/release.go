package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/bootagent/bootagent/internal/region/ssm"
	"github.com/bootagent/bootagent/internal/region/wire"
)

// Put writes a version of the release parameter, as
// aws ssm put-parameter --overwrite does, and gives its number.
func (t *Trial) Put(ctx context.Context, value string) (int64, error) {
	return t.putParameter(ctx, t.Parameter(), value)
}

func (t *Trial) putParameter(ctx context.Context, name, value string) (int64, error) {
	body, err := json.Marshal(map[string]any{"Name": name, "Value": value, "Type": "String", "Overwrite": true})
	if err != nil {
		return 0, err
	}
	answer, err := t.Region.SSM.Serve(ctx, wire.Call{Service: ssm.Name, Operation: "PutParameter", Body: body})
	if err != nil {
		return 0, fmt.Errorf("put the parameter %s: %w", name, err)
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return 0, err
	}
	var put struct{ Version int64 }
	if err := json.Unmarshal(data, &put); err != nil {
		return 0, err
	}
	return put.Version, nil
}

// Environment are the variables with which the stock AWS CLI, and bootagent's own commands, speak to this fleet.
func (t *Trial) Environment() []string {
	return append(t.Region.Environment(), "BOOTAGENT_APP="+t.App, "BOOTAGENT_ENV="+Env)
}

// PutCommand is the line that a person types for Put.
func (t *Trial) PutCommand(value string) string {
	return fmt.Sprintf("aws ssm put-parameter --name %s --value %s --overwrite", t.Parameter(), value)
}

// Head is the commit that is checked out in a repository, and the branch it is on, "" for none.
func Head(ctx context.Context, dir string) (sha, branch string, err error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", "", fmt.Errorf("there is no such directory as %s", dir)
	}
	if _, err := exec.LookPath("git"); err != nil {
		return "", "", fmt.Errorf("git is needed, and is not installed: %w", err)
	}
	above, err := git(ctx, dir, "rev-parse", "--show-cdup")
	switch {
	case err != nil:
		return "", "", fmt.Errorf("%s is no git repository that can be read: run `git init` in it and commit the app, or name another directory (%w)", dir, err)
	case above != "":
		return "", "", fmt.Errorf("%s is a directory of the repository in %s, and a repository is deployed as a whole: name that", dir, filepath.Join(dir, above))
	}
	if sha, err = git(ctx, dir, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err != nil {
		return "", "", fmt.Errorf("the repository in %s has no commit, and only what is committed is deployed: commit the app first", dir)
	}
	if branch, err = git(ctx, dir, "symbolic-ref", "--short", "--quiet", "HEAD"); err != nil {
		branch = "" // a detached HEAD
	}
	return sha, branch, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	out, err := command.Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok && len(exit.Stderr) > 0 { //nolint:errorlint // Output returns it unwrapped
			first, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
			return "", fmt.Errorf("git: %s", first)
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// AppName makes the name of an app of a directory's.
func AppName(directory string) string {
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(directory), "-"), "-")
	if name == "" || name[0] < 'a' {
		name = "app-" + name
	}
	return strings.Trim(name[:min(len(name), 24)], "-")
}
