package tree_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/tree"
)

// step is one call of a Writer.
type step func(*tree.Writer) error

func file(name, body string) step {
	return func(w *tree.Writer) error { return w.File(context.Background(), name, false, strings.NewReader(body)) }
}

func adopt(name, body string, executable bool) step {
	return func(w *tree.Writer) error {
		t, err := w.Spool([]byte(body))
		if err != nil {
			return err
		}
		return w.Adopt(name, executable, t)
	}
}

func link(name, target string) step {
	return func(w *tree.Writer) error { return w.Symlink(name, target) }
}

func directory(name string) step { return func(w *tree.Writer) error { return w.Dir(name) } }

func write(t *testing.T, dir string, limits tree.Limits, steps ...step) error {
	t.Helper()
	w, err := tree.New(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	for _, s := range steps {
		if err := s(w); err != nil {
			return err
		}
	}
	return w.Finish(context.Background())
}

// list gives what is below dir: path → mode and content.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			got[rel] = info.Mode().String()
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			got[rel] = "-> " + target
			return err
		default:
			body, err := os.ReadFile(p)
			got[rel] = info.Mode().String() + " " + string(body)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestATreeIsWrittenWithItsModesAndLinks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	err := write(t, dir, tree.Limits{},
		file("a.txt", "a"), adopt("bin/run", "#!", true), file("deep/er/x", ""), adopt("bin/ü", "u", false),
		link("deep/up", "../a.txt"), link("bin/dangling", "nowhere/x"), link("links/only", "../deep/er/../../a.txt"),
		directory("empty"), file(".github/x", "1"), link(".gitignore", "a.txt"), file("a\\b", "2"), file(".gitmodules", ""))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a.txt": "-rw-r--r-- a", "bin": "drwxr-xr-x", "bin/run": "-rwxr-xr-x #!", "bin/ü": "-rw-r--r-- u",
		"bin/dangling": "-> nowhere/x", "deep": "drwxr-xr-x", "deep/er": "drwxr-xr-x", "deep/er/x": "-rw-r--r-- ",
		"deep/up": "-> ../a.txt", "links": "drwxr-xr-x", "links/only": "-> ../deep/er/../../a.txt", "empty": "drwxr-xr-x",
		".github": "drwxr-xr-x", ".github/x": "-rw-r--r-- 1", ".gitignore": "-> a.txt", "a\\b": "-rw-r--r-- 2",
		".gitmodules": "-rw-r--r-- ",
	}
	if diff := cmp.Diff(want, list(t, dir)); diff != "" {
		t.Error(diff)
	}
	if err := tree.Sync(dir); err != nil {
		t.Error(err)
	}
}

func TestHostileTreesAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	cases := map[string][]step{
		"parent":               {file("../x", "")},
		"parent inside":        {file("a/../../x", "")},
		"absolute":             {file("/etc/x", "")},
		"empty":                {file("", "")},
		"empty component":      {file("a//b", "")},
		"trailing slash":       {file("a/", "")},
		"dot":                  {file("./a", "")},
		"nul":                  {file("a\x00b", "")},
		"newline":              {file("a\nb", "")},
		"escape":               {file("a\x1b[2Jb", "")},
		"C1 control":           {file("a\u009bb", "")},
		"git directory":        {file(".git/hooks/post-checkout", "")},
		"git directory itself": {directory(".git")},
		"git in a directory":   {file("sub/.GiT/config", "")},
		"git on NTFS":          {file("git~1/config", "")},
		"git with a space":     {file(".git /config", "")},
		"git with a dot":       {file(".git./config", "")},
		"git with a stream":    {file(".git::$INDEX_ALLOCATION/config", "")},
		"git with a backslash": {file(`.git\config`, "")},
		"git on HFS":           {file(".g\u200cit/config", "")},
		"git on HFS with BOM":  {file("\ufeff.git/config", "")},
		"long name":            {file(strings.Repeat("x", 256), "")},
		"file twice":           {file("a", "1"), file("a", "2")},
		"adopted twice":        {file("a", "1"), adopt("a", "2", false)},
		"file then directory":  {file("a", "1"), file("a/b", "2")},
		"directory then file":  {file("a/b", "1"), file("a", "2")},
		"directory then spool": {file("a/b", "1"), adopt("a", "2", false)},
		"link then through it": {link("a", "/tmp"), file("a/x", "")},
		"inner link through":   {link("a", "b"), file("a/x", "")},
		"through, then link":   {file("a/x", ""), link("a", "b")},
		"link twice":           {link("a", "b"), link("a", "c")},
		"link and file":        {link("a", "b"), file("a", "c")},
		"file and link":        {file("a", "b"), link("a", "c")},
		"link in a link":       {link("a", "b"), link("a/c", "d")},
		"absolute link":        {link("a", "/etc/passwd")},
		"escaping link":        {link("d/a", "../../x")},
		"escape by two links":  {link("a/b/d", "../.."), link("a/b/x", "d/../secret")},
		"escape by a chain":    {link("l1", "sub/l2"), link("sub/l2", "../../out")},
		"empty link":           {link("a", "")},
		"long link":            {link("a", strings.Repeat("x/", 2100))},
		"NUL in a link":        {link("a", "b\x00c")},
		"gitmodules link":      {link(".gitmodules", "x")},
		"gitmodules disguised": {link("sub/.GITmodules.", "x")},
		"gitmodules on NTFS":   {link("GITMOD~1", "x")},
		"gitmodules by hash":   {link("gi7eba~1", "x")},
		"gitmodules, a stream": {link(".gitmodules::$DATA", "x")},
		"gitattributes there":  {link("gitatt~2", "x")},
		"git in a stream":      {file(".git:x", "")},
		"git with a BOM, caps": {file("a/.\u206aGI\ufeffT/x", "")},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			err := write(t, filepath.Join(parent, "tree"), tree.Limits{}, steps...)
			var hostile *tree.HostileError
			if !errors.As(err, &hostile) {
				t.Fatalf("got %v, want a HostileError", err)
			}
			if left := list(t, parent); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestLimitsHold(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		limits tree.Limits
		steps  []step
	}{
		"files":           {tree.Limits{Files: 2}, []step{file("a", ""), file("b", ""), file("c", "")}},
		"directories":     {tree.Limits{Files: 3}, []step{file("a/b/c/d", "")}},
		"links":           {tree.Limits{Files: 1}, []step{link("a", "b"), link("c", "d")}},
		"bytes":           {tree.Limits{Bytes: 5}, []step{file("a", "123"), file("b", "456")}},
		"bytes adopted":   {tree.Limits{Bytes: 5}, []step{adopt("a", "123", false), adopt("b", "456", false)}},
		"one file":        {tree.Limits{FileBytes: 5}, []step{file("a", "123456")}},
		"one adopted":     {tree.Limits{FileBytes: 5}, []step{adopt("a", "123456", true)}},
		"depth":           {tree.Limits{Depth: 2}, []step{file("a/b/c", ""), file("a/b/c2/d", "")}},
		"bytes of links":  {tree.Limits{PathBytes: 10}, []step{link("a/b/c/d/e/f", "x")}},
		"length of paths": {tree.Limits{PathBytes: 10}, []step{file("a/b/c/d/e/f", "")}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			err := write(t, filepath.Join(parent, "tree"), c.limits, c.steps...)
			var limit *tree.LimitError
			if !errors.As(err, &limit) {
				t.Fatalf("got %v, want a LimitError", err)
			}
			if left := list(t, parent); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestLinksThatTakeLongToFollowAreLeft lays a chain whose every link sends the walk through a long way of nothing, and back.
func TestLinksThatTakeLongToFollowAreLeft(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x/", 700) + strings.Repeat("../", 700)
	chain := func(links int) []step {
		steps := []step{link("l0", "nowhere")}
		for i := range links {
			steps = append(steps, link(fmt.Sprint("l", i+1), long+fmt.Sprint("l", i%39)))
		}
		return steps
	}
	parent := t.TempDir()
	err := write(t, filepath.Join(parent, "tree"), tree.Limits{}, chain(1000)...)
	var limit *tree.LimitError
	if !errors.As(err, &limit) || !strings.Contains(err.Error(), "steps to follow") {
		t.Errorf("got %.300v", err)
	}
	if left := list(t, parent); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := write(t, filepath.Join(parent, "short"), tree.Limits{}, chain(30)...); err != nil {
		t.Errorf("a chain that is no chore: %v", err)
	}
}

func TestTheTargetsOfAllLinksTogetherAreBounded(t *testing.T) {
	t.Parallel()
	var steps []step
	for i := range 4200 {
		steps = append(steps, link(fmt.Sprint(i), strings.Repeat("x", 4000)))
	}
	var limit *tree.LimitError
	if err := write(t, filepath.Join(t.TempDir(), "tree"), tree.Limits{}, steps...); !errors.As(err, &limit) {
		t.Errorf("got %.300v", err)
	}
}

func TestACancelledContextEndsTheFollowingOfLinks(t *testing.T) {
	t.Parallel()
	w, err := tree.New(filepath.Join(t.TempDir(), "tree"), tree.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Symlink("a", "b"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	cancel(why)
	if err := w.Finish(ctx); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestLinksOutAreWrittenWhereThePolicyAllowsThem(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	outside := t.TempDir()
	err := write(t, dir, tree.Limits{Links: tree.LinksAny}, link("etc", outside), link("up", "../.."), file("a/b", "x"))
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, dir)["etc"]; got != "-> "+outside {
		t.Errorf("etc is %q", got)
	}
	for _, through := range []string{"etc/x", "up/x"} {
		err := write(t, filepath.Join(t.TempDir(), "tree"), tree.Limits{Links: tree.LinksAny},
			link(filepath.Dir(through), outside), file(through, "out"))
		if err == nil || len(list(t, outside)) > 0 {
			t.Errorf("%s was written through a link (%v)", through, err)
		}
	}
	if err := write(t, filepath.Join(t.TempDir(), "tree"), tree.Limits{Links: tree.LinksNone}, link("a", "b")); err == nil {
		t.Error("LinksNone lets a link through")
	}
}

func TestADirectoryThatIsInUseIsNotTouched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.New(dir, tree.Limits{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v", err)
	}
	if got := list(t, dir); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
	empty := t.TempDir()
	if err := write(t, empty, tree.Limits{}, file("a/b", "x"), file("../b", "")); err == nil {
		t.Error("../b was written")
	}
	if got := list(t, empty); len(got) != 0 {
		t.Errorf("an empty directory that was there before must stay, and stay empty: %v", got)
	}
}

func TestACancelledContextEndsALongFile(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("enough")
	w, err := tree.New(filepath.Join(t.TempDir(), "tree"), tree.Limits{Bytes: 1 << 40, FileBytes: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	read := 0
	endless := readerFunc(func(p []byte) (int, error) {
		if read += len(p); read > 4<<20 {
			cancel(why)
		}
		return len(p), nil
	})
	if err := w.File(ctx, "a", false, endless); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func FuzzNamesNeverGetOut(f *testing.F) {
	for _, s := range []string{"a", "../a", "a/../../b", ".git/x", "a/.git", "git~1", ".g\u200cit", "/a", "a//b", "a/./b", "a\x00", ".git \\x"} {
		f.Add(s, "../x")
		f.Add("dir/"+s, "dir/../..")
	}
	f.Fuzz(func(t *testing.T, name, target string) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "tree")
		w, err := tree.New(dir, tree.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		fileErr := w.File(context.Background(), name, false, strings.NewReader("x"))
		linkErr := w.Symlink("dir/link", target)
		finErr := w.Finish(context.Background())
		entries, err := os.ReadDir(parent)
		if err != nil || len(entries) > 1 {
			t.Fatalf("%q got out: %v %v", name, entries, err)
		}
		if fileErr == nil && finErr == nil {
			for _, c := range strings.Split(name, "/") {
				if strings.EqualFold(c, ".git") || c == ".." || c == "" {
					t.Fatalf("%q was written", name)
				}
			}
			if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
				t.Fatalf("%q was accepted but is not there: %v", name, err)
			}
		}
		if linkErr == nil && finErr == nil {
			if got := filepath.Join(dir, "dir", target); got != dir && !strings.HasPrefix(got, dir+"/") {
				t.Fatalf("link to %q leads to %s", target, got)
			}
		}
	})
}

func BenchmarkManySmallFiles(b *testing.B) {
	for b.Loop() {
		w, err := tree.New(filepath.Join(b.TempDir(), "tree"), tree.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		for i := range 2000 {
			t, err := w.Spool([]byte("content"))
			if err != nil {
				b.Fatal(err)
			}
			if err := w.Adopt(fmt.Sprintf("d%d/e/f%d", i/50, i), false, t); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Finish(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
