package deploy_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy"
)

// sharing is a recipe with these shared directories, and a build, if any.
func sharing(shared, build string) string {
	text := "version: 1\nprocesses: {web: x}\nshared: [" + shared + "]\n"
	if build != "" {
		text += fmt.Sprintf("build: {run: %q}\n", build)
	}
	return text
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWhatAnAppSharesOutlivesItsReleases(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{}}
	m := machine(t, src, func(o *deploy.Options) { o.KeepReleases = 2 })
	for n := int64(1); n <= 5; n++ {
		letter := fmt.Sprint(n)
		src.of[rev(letter)] = map[string]string{"bootagent.yaml": sharing("uploads/, log/app", ""), "uploads/.keep": ""}
		p := prepare(t, m, release(n, letter))
		if n == 1 {
			write(t, filepath.Join(p.Dir, "uploads", "cat.png"), "meow")
		}
		if got := read(t, filepath.Join(p.Dir, "uploads", "cat.png")); got != "meow" {
			t.Errorf("release %d: %q", n, got)
		}
		write(t, filepath.Join(p.Dir, "log", "app", "web.log"), letter)
		want := []string{filepath.Join(m.StateDir, "shared", "uploads"), filepath.Join(m.StateDir, "shared", "log", "app")}
		if d := cmp.Diff(want, p.Shared); d != "" {
			t.Error(d)
		}
		if err := m.Promote(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff([]string{"4", "5"}, onDisk(t, m)); d != "" {
		t.Error(d)
	}
	shared := filepath.Join(m.StateDir, "shared")
	if cat, log := read(t, filepath.Join(shared, "uploads", "cat.png")), read(t, filepath.Join(shared, "log", "app", "web.log")); cat != "meow" || log != "5" {
		t.Errorf("the clean-up reached what is shared: %q, %q", cat, log)
	}
	if info, err := os.Stat(filepath.Join(shared, "uploads")); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("got %v, %v", info, err)
	}
	// One that somebody removed is there again when the release is asked for again.
	if err := os.RemoveAll(shared); err != nil {
		t.Fatal(err)
	}
	p := prepare(t, m, release(5, "5"))
	write(t, filepath.Join(p.Dir, "log", "app", "web.log"), "again")
}

func TestABuildReachesNothingThatIsShared(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{
		rev("a"): {"bootagent.yaml": sharing("log", "")},
		rev("b"): {"bootagent.yaml": sharing("log", "rm -rf log/*; mkdir -p log/cache; echo built > log/build.log; ln -s /etc log/etc")},
	}}
	m := machine(t, src, nil)
	write(t, filepath.Join(prepare(t, m, release(1, "a")).Dir, "log", "web.log"), "served")
	p := prepare(t, m, release(2, "b"))
	entries, err := os.ReadDir(filepath.Join(p.Dir, "log"))
	if err != nil || len(entries) != 1 || read(t, filepath.Join(p.Dir, "log", "web.log")) != "served" {
		t.Errorf("got %v, %v", entries, err)
	}
}

func TestDirectoriesThatACommitBringsAreMadeInTheSharedOne(t *testing.T) {
	t.Parallel()
	src := &trees{of: map[string]map[string]string{
		rev("a"): {"app/bootagent.yaml": sharing("storage", ""), "app/storage/framework/cache/.gitignore": "*\n", "app/storage/logs/.gitkeep": ""},
	}}
	m := machine(t, src, func(o *deploy.Options) { o.Subdirectory = "app" })
	p := prepare(t, m, release(1, "a"))
	write(t, filepath.Join(p.Dir, "storage", "framework", "cache", "x"), "x")
	write(t, filepath.Join(p.Dir, "storage", "logs", "x"), "x")
	if _, err := os.Lstat(filepath.Join(p.Dir, "storage", "logs", ".gitkeep")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file of the commit is there: %v", err)
	}
}

func TestWhatACommitCannotShare(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for _, c := range []struct {
		name  string
		files map[string]string
		build string
		want  string
	}{
		{"a directory with files", map[string]string{"up/a/logo.png": "x"}, "", "shared: up: the commit has up/a/logo.png in it, and a directory that outlives releases can't take files from one"},
		{"a file", map[string]string{"up": "x"}, "", "shared: up: it is a file in the commit, and has to be a directory or nothing"},
		{"a link", map[string]string{"up": "-> " + outside}, "", "shared: up: it is a symbolic link in the commit"},
		{"something behind a link that leads out", map[string]string{"a": "-> " + outside}, "", "shared: a/up: a is a symbolic link in the commit"},
		{"something behind a link", map[string]string{"a": "-> b", "b/x": "x"}, "", "shared: a/up: a is a symbolic link in the commit"},
		{"something behind a file", map[string]string{"a": "x"}, "", "shared: a/up: a is a file in the commit"},
		{"something behind a link that the build made", nil, "ln -s " + outside + " a", "shared: a/up: a is a symbolic link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := strings.Split(strings.TrimPrefix(c.want, "shared: "), ":")[0]
			files := map[string]string{"bootagent.yaml": sharing(path, c.build)}
			for name, content := range c.files {
				files[name] = content
			}
			m := machine(t, &trees{of: map[string]map[string]string{rev("a"): files}}, nil)
			_, err := m.Prepare(t.Context(), release(1, "a"), nil)
			var bad *deploy.RevisionError
			if !errors.As(err, &bad) || bad.Phase != "recipe" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if left := onDisk(t, m); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	t.Cleanup(func() {
		if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
			t.Errorf("outside there is %v, %v", entries, err)
		}
	})
}

func TestALinkThatAnAppLeftInASharedDirectoryIsNotFollowed(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	src := &trees{of: map[string]map[string]string{
		rev("a"): {"bootagent.yaml": sharing("storage", "")},
		rev("b"): {"bootagent.yaml": sharing("storage", ""), "storage/cache/pages/.keep": ""},
		rev("c"): {"bootagent.yaml": sharing("storage/cache", "")},
	}}
	m := machine(t, src, nil)
	p := prepare(t, m, release(1, "a"))
	if err := os.Symlink(outside, filepath.Join(p.Dir, "storage", "cache")); err != nil {
		t.Fatal(err)
	}
	for n, letter := range []string{"b", "c"} {
		_, err := m.Prepare(t.Context(), release(int64(n)+2, letter), nil)
		var bad *deploy.RevisionError
		if err == nil || errors.As(err, &bad) || !strings.Contains(err.Error(), "storage/cache is a symbolic link, and has to be a directory") {
			t.Errorf("%s: got %v", letter, err)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}

func TestSharedDirectoriesBelongToTheAppsUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to another user: run this test as root")
	}
	src := &trees{of: map[string]map[string]string{
		rev("a"): {"bootagent.yaml": sharing("log/app", "")}, rev("b"): {"bootagent.yaml": sharing("log/app", ""), "log/app/old/.keep": ""},
	}}
	m := machine(t, src, nil)
	prepare(t, m, release(1, "a")) // made as the agent's own, which a later configuration gives away
	o := m.Options
	o.Users = &deploy.Users{App: deploy.User{Name: "nobody", UID: 65534, GID: 65533}}
	m, err := deploy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	prepare(t, m, release(2, "b"))
	for path, owner := range map[string]uint32{"log": 0, "log/app": 65534, "log/app/old": 65534} {
		info, err := os.Lstat(filepath.Join(m.StateDir, "shared", path))
		if err != nil {
			t.Fatal(err)
		}
		if stat := info.Sys().(*syscall.Stat_t); stat.Uid != owner {
			t.Errorf("%s belongs to %d:%d", path, stat.Uid, stat.Gid)
		}
	}
}
