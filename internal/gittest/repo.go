// Package gittest gives tests real git repositories and a real git server that can be told to misbehave.
// It is imported by tests only. Every git process runs isolated from the machine's and the user's configuration.
package gittest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Repo is a bare repository in a directory of the test's own. Its branch at birth is main.
type Repo struct {
	Dir string // …/<Name>
	t   testing.TB
}

// File is one file of a commit.
type File struct {
	Body      string // a link's target, where Link is set; a commit's SHA, where Submodule is
	Exec      bool
	Link      bool
	Submodule bool
	Removed   bool
}

// NewRepo makes an empty bare repository "app.git".
func NewRepo(t testing.TB) *Repo {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.git")
	r := &Repo{Dir: dir, t: t}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Git("init", "-q", "--bare", "-b", "main", ".")
	return r
}

// NewSHA256Repo makes one whose objects have SHA-256 names.
func NewSHA256Repo(t testing.TB) *Repo {
	t.Helper()
	r := &Repo{Dir: filepath.Join(t.TempDir(), "app.git"), t: t}
	if err := os.Mkdir(r.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Git("init", "-q", "--bare", "-b", "main", "--object-format=sha256", ".")
	return r
}

// Neighbour makes an empty bare repository beside this one, for the same servers.
func (r *Repo) Neighbour(name string) *Repo {
	r.t.Helper()
	n := &Repo{Dir: filepath.Join(filepath.Dir(r.Dir), name), t: r.t}
	if err := os.Mkdir(n.Dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	n.Git("init", "-q", "--bare", "-b", "main", ".")
	return n
}

// Name is the repository's name below its server's URL.
func (r *Repo) Name() string { return filepath.Base(r.Dir) }

// Commit puts these files (path → content) on top of main, keeping the others, and gives the commit's SHA.
func (r *Repo) Commit(files map[string]string) string {
	r.t.Helper()
	full := make(map[string]File, len(files))
	for name, body := range files {
		full[name] = File{Body: body}
	}
	return r.CommitFiles("main", full)
}

// CommitFiles puts these files on top of a branch, which it makes where there is none, and gives the commit's SHA.
func (r *Repo) CommitFiles(branch string, files map[string]File) string {
	r.t.Helper()
	ref := "refs/heads/" + branch
	var in bytes.Buffer
	fmt.Fprintf(&in, "commit %s\ncommitter Tess Ter <tess@example.com> 1700000000 +0000\ndata 6\ncommit\n", ref)
	if _, err := r.try(nil, "rev-parse", "-q", "--verify", ref); err == nil {
		fmt.Fprintf(&in, "from %s^0\n", ref)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		switch {
		case f.Removed:
			fmt.Fprintf(&in, "D %s\n", quote(name))
			continue
		case f.Submodule:
			fmt.Fprintf(&in, "M 160000 %s %s\n", f.Body, quote(name))
			continue
		case f.Link:
			fmt.Fprintf(&in, "M 120000 inline %s\n", quote(name))
		case f.Exec:
			fmt.Fprintf(&in, "M 100755 inline %s\n", quote(name))
		default:
			fmt.Fprintf(&in, "M 100644 inline %s\n", quote(name))
		}
		fmt.Fprintf(&in, "data %d\n%s\n", len(f.Body), f.Body)
	}
	in.WriteString("done\n")
	r.GitIn(in.String(), "fast-import", "--quiet", "--done", "--date-format=raw")
	return r.Git("rev-parse", ref)
}

// quote writes a path as fast-import reads it.
func quote(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(name) + `"`
}

// Branch makes or moves a branch.
func (r *Repo) Branch(name, sha string) {
	r.t.Helper()
	r.Git("update-ref", "refs/heads/"+name, sha)
}

// Tag makes a lightweight tag.
func (r *Repo) Tag(name, sha string) {
	r.t.Helper()
	r.Git("tag", name, sha)
}

// AnnotatedTag makes an annotated tag and gives the tag object's own SHA.
func (r *Repo) AnnotatedTag(name, sha string) string {
	r.t.Helper()
	r.Git("tag", "-a", "-m", "a tag", name, sha)
	return r.Git("rev-parse", "refs/tags/"+name)
}

// Clone makes a work tree of the repository, with git's own checkout, and gives its directory.
func (r *Repo) Clone(sha string) string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "clone")
	r.Git("clone", "-q", "--no-checkout", r.Dir, dir)
	clone := &Repo{Dir: dir, t: r.t}
	clone.Git("checkout", "-q", "--detach", sha)
	return dir
}

// Git runs git in the repository and gives its output without the last line's end. Failure ends the test.
func (r *Repo) Git(args ...string) string {
	r.t.Helper()
	return r.GitIn("", args...)
}

// GitIn is Git with a standard input.
func (r *Repo) GitIn(stdin string, args ...string) string {
	r.t.Helper()
	out, err := r.try([]byte(stdin), args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSuffix(out, "\n")
}

func (r *Repo) try(stdin []byte, args ...string) (string, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = Environment(r.Dir)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Environment is what a git process needs and nothing of the user's: fixed names and dates, no configuration.
func Environment(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_TERMINAL_PROMPT=0", "GIT_AUTHOR_NAME=Tess Ter", "GIT_AUTHOR_EMAIL=tess@example.com",
		"GIT_COMMITTER_NAME=Tess Ter", "GIT_COMMITTER_EMAIL=tess@example.com",
		"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000",
	}
}
