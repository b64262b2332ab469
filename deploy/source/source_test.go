package source_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// TestMain runs everything under the umask that git's own checkout is compared with.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	if done, err := otherLife(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	} else if done {
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newSource(t testing.TB, c source.Config) *source.Source {
	t.Helper()
	s, err := source.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func from(t testing.TB, srv *gittest.Server) *source.Source {
	t.Helper()
	return newSource(t, source.Config{URL: srv.CloneURL()})
}

// oursFrom is a source that never runs the machine's git.
func oursFrom(t testing.TB, srv *gittest.Server) *source.Source {
	t.Helper()
	return newSource(t, source.Config{URL: srv.CloneURL(), Engine: source.EngineGoGit})
}

// snapshot is what is below dir: path → mode and content (in short), without git's own: .git, and a submodule's file
// of that name.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Name() == ".git" && d.IsDir():
			return fs.SkipDir
		case d.Name() == ".git":
			return nil
		}
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
			got[rel] = fmt.Sprintf("%s %d %x", info.Mode(), len(body), sha256.Sum256(body))
			return err
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return got
}

// fetch gets a commit into a new directory.
func fetch(t testing.TB, s *source.Source, sha string) (dir string, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "release")
	err = s.Fetch(context.Background(), sha, dir)
	if err != nil {
		if _, statErr := os.Lstat(dir); !errors.Is(statErr, fs.ErrNotExist) {
			t.Errorf("after the error %v something is left in %s: %v", err, dir, snapshot(t, dir))
		}
	}
	return dir, err
}

func mustFetch(t testing.TB, s *source.Source, sha string) string {
	t.Helper()
	dir, err := fetch(t, s, sha)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// noise is content that does not compress.
func noise(seed uint64, size int) string {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, size)
	_, _ = r.Read(b) // never fails
	return string(b)
}

// variedRepo has one of everything, and a history that makes git store deltas.
func variedRepo(t testing.TB) (repo *gittest.Repo, sha string) {
	t.Helper()
	repo = gittest.NewRepo(t)
	long := strings.Repeat("a line that is the same in all of these files\n", 400)
	files := map[string]gittest.File{
		"README.md":              {Body: "hello\n"},
		"empty":                  {},
		"also/empty":             {},
		"bin/run":                {Body: "#!/bin/sh\nexec true\n", Exec: true},
		"bin/copy-of-run":        {Body: "#!/bin/sh\nexec true\n"},
		"link":                   {Body: "README.md", Link: true},
		"deep/er/and/up":         {Body: "../../../README.md", Link: true},
		"deep/er/and/dangling":   {Body: "not-there", Link: true},
		"to-directory":           {Body: "deep/er", Link: true},
		"ünïcode/日本語 with space": {Body: "名前\n"},
		"odd/back\\slash":        {Body: "x"},
		"odd/quote\"'":           {Body: "y"},
		"odd/-rf":                {Body: "z"},
		"aux.c":                  {Body: "legal here\n"},
		"latin1-\xe9":            {Body: "bytes\n"},
		"binary":                 {Body: "\x00\x01\xff" + noise(1, 3000)},
		"big/noise":              {Body: noise(2, 700<<10)},
		"big/text":               {Body: strings.Repeat(long, 60)},
		".github/workflows/x":    {Body: "on: push\n"},
		".gitignore":             {Body: "*.o\n"},
		".gitmodules":            {Body: ""},
		"crlf.txt":               {Body: "a\r\nb\r\n"},
		strings.Repeat("d/", 40): {Removed: true},
	}
	delete(files, strings.Repeat("d/", 40))
	for i := range 30 { // directories that are like each other: deltas of trees
		for j := range 12 {
			files[fmt.Sprintf("twins/%d/a-name-that-is-long-%d", i, j)] = gittest.File{Body: fmt.Sprint(j)}
		}
		files[fmt.Sprintf("twins/%d/own", i)] = gittest.File{Body: fmt.Sprint("own ", i)}
	}
	files[strings.Repeat("d/", 40)+"bottom"] = gittest.File{Body: "deep\n"}
	for i := range 60 {
		window := "" // that slides, so that each file is most like its neighbours
		for block := i; block < i+6; block++ {
			window += noise(uint64(100+block), 500)
		}
		files[fmt.Sprintf("similar/%02d", i)] = gittest.File{Body: window}
	}
	repo.CommitFiles("main", files)
	sha = repo.CommitFiles("main", map[string]gittest.File{
		"big/text": {Body: strings.Repeat(long, 59) + "changed\n" + long}, "big/similar": {Body: strings.Repeat(long, 61)},
	})
	repo.Git("repack", "-adfq", "--depth=50", "--window=50")
	return repo, sha
}

func TestATreeIsExactlyWhatGitChecksOut(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	if !strings.Contains(repo.Git("verify-pack", "-v", packOf(t, repo)), "chain length = 2") {
		t.Fatal("the repository has no deltas on deltas: this test proves less than it should")
	}
	want := snapshot(t, repo.Clone(sha))
	for name, opts := range map[string][]gittest.Option{
		"by SHA": nil, "tips only": {gittest.WithoutSHA()}, "REF_DELTA": {gittest.With(withoutOffsets)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := gittest.NewServer(t, repo, opts...)
			if diff := cmp.Diff(want, snapshot(t, mustFetch(t, from(t, srv), sha))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := len(strings.Split(repo.Git("ls-tree", "-r", "--name-only", sha), "\n")); got < 80 {
		t.Errorf("only %d files were compared", got)
	}
}

// withoutOffsets lets the server believe that we don't know deltas by offset, so that it names their bases.
func withoutOffsets(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r = replaceInBody(r, "ofs-delta", "ofs-nono!")
		}
		next.ServeHTTP(w, r)
	})
}

func TestBigFilesAndDeltasOnThemAreStreamed(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	big := strings.Repeat(noise(1, 4096), 5000) // 20 MiB that compress well
	repo.Commit(map[string]string{"one": big})
	sha := repo.Commit(map[string]string{"two": big[:len(big)/2] + "something else" + big[len(big)/2:], "copy/of/one": big})
	repo.Git("-c", "pack.deltaCacheSize=1", "repack", "-adfq", "--depth=50", "--window=50")
	if !strings.Contains(repo.Git("verify-pack", "-v", packOf(t, repo)), "chain length = 1") {
		t.Fatal("the repository has no deltas: this test proves less than it should")
	}
	want := snapshot(t, repo.Clone(sha))
	if diff := cmp.Diff(want, snapshot(t, mustFetch(t, from(t, gittest.NewServer(t, repo)), sha))); diff != "" {
		t.Error(diff)
	}
}

func packOf(t *testing.T, repo *gittest.Repo) string {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(repo.Dir, "objects/pack/*.idx"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs: %v %v", packs, err)
	}
	return packs[0]
}

func TestAnyCommitOfTheHistoryIsFetchedFromEitherKindOfServer(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	first := repo.Commit(map[string]string{"v": "1", "gone": "x"})
	second := repo.CommitFiles("main", map[string]gittest.File{"v": {Body: "2"}, "gone": {Removed: true}})
	third := repo.Commit(map[string]string{"v": "3"})
	onlyTagged := repo.CommitFiles("side", map[string]gittest.File{"v": {Body: "tagged"}})
	tagged := repo.AnnotatedTag("v1", onlyTagged)
	repo.Git("branch", "-D", "side")
	for _, opts := range [][]gittest.Option{nil, {gittest.WithoutSHA()}, {gittest.WithoutSHA(), gittest.With(tipsOnly(repo))}} {
		s := from(t, gittest.NewServer(t, repo, opts...))
		for sha, want := range map[string]string{first: "1", second: "2", third: "3", onlyTagged: "tagged", strings.ToUpper(third): "3"} {
			body, err := os.ReadFile(filepath.Join(mustFetch(t, s, sha), "v"))
			if err != nil || string(body) != want {
				t.Errorf("%s: v is %q, want %q (%v)", sha, body, want, err)
			}
		}
		if _, err := fetch(t, s, strings.Repeat("12", 20)); !errors.Is(err, source.ErrNoRevision) || isRevision(err) {
			t.Errorf("a commit that nobody has: %v", err)
		}
		if _, err := fetch(t, s, tagged); !isRevision(err) || !strings.Contains(err.Error(), onlyTagged) {
			t.Errorf("a tag's own SHA: %v", err)
		}
		if _, err := fetch(t, s, "main"); !errors.Is(err, source.ErrBadRef) {
			t.Errorf("a branch instead of a SHA: %v", err)
		}
	}
}

func isRevision(err error) bool {
	var r interface{ Revision() bool }
	return errors.As(err, &r) && r.Revision()
}

func TestManyFetchesAtATimeDoNotMeet(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	want := snapshot(t, repo.Clone(sha))
	srv := gittest.NewServer(t, repo, gittest.WithAuth("", "right"))
	good := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "right"}})
	bad := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "wrong"}})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if diff := cmp.Diff(want, snapshot(t, mustFetch(t, good, sha))); diff != "" {
				t.Error(diff)
			}
		})
		wg.Go(func() {
			if _, err := fetch(t, bad, sha); !errors.Is(err, source.ErrDenied) {
				t.Errorf("the wrong credentials: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestAnExistingDirectoryIsUsedOnlyIfItIsEmpty(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1"})
	s := from(t, gittest.NewServer(t, repo))
	dir := t.TempDir()
	if err := s.Fetch(context.Background(), sha, dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Fetch(context.Background(), sha, dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second time: %v", err)
	}
	if got := snapshot(t, dir); len(got) != 1 {
		t.Errorf("the first tree did not survive: %v", got)
	}
}

func TestFilesAreConvertedAsGitConvertsThem(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	files := map[string]gittest.File{
		".gitattributes": {Body: "# comment\n[attr]dos text eol=crlf\n*.bat text eol=crlf\n/only/here.txt eol=crlf\n**/any/*.q eol=crlf\n" +
			"a/**/z.x eol=crlf\nall/** eol=crlf\n*.bin eol=crlf -text\n*.auto text=auto eol=crlf\n*.mac dos\n\"sp ace.t\" eol=crlf\n" +
			"[a-c]?.cls eol=crlf\n[!a-c]?.neg eol=crlf\nlfs/*.psd filter=lfs\n*.old crlf eol=crlf\n*.noold -crlf eol=crlf\ndir/ eol=crlf\n* -ident\n"},
		"gradlew.bat": {Body: "a\nb\r\nc"}, "sub/x.bat": {Body: "\n\n", Exec: true}, "only/here.txt": {Body: "x\n"}, "sub/only/here.txt": {Body: "x\n"},
		"p/any/f.q": {Body: "x\n"}, "any/f.q": {Body: "x\n"}, "a/z.x": {Body: "x\n"}, "a/b/c/z.x": {Body: "x\n"}, "all/in/here": {Body: "x\n"},
		"x.bin": {Body: "x\n"}, "t.auto": {Body: "x\ny\n"}, "cr.auto": {Body: "x\r\ny\n"}, "nul.auto": {Body: "x\n\x00"}, "m.mac": {Body: "x\n"},
		"odd.auto": {Body: "x\n\x01\x02"}, "sp ace.t": {Body: "x\n"}, "a1.cls": {Body: "x\n"}, "d1.cls": {Body: "x\n"}, "a1.neg": {Body: "x\n"},
		"d1.neg": {Body: "x\n"}, "o.old": {Body: "x\n"}, "o.noold": {Body: "x\n"}, "dir/f": {Body: "x\n"}, "plain": {Body: "x\n"},
		"sub/deep/.gitattributes": {Body: "*.bat eol=lf\n*.deep eol=crlf\n[attr]dos -text\n"}, "sub/deep/y.bat": {Body: "x\n"}, "sub/deep/z.deep": {Body: "x\n"},
		"sub/deep/z.mac": {Body: "x\n"}, "z.deep": {Body: "x\n"}, "empty.bat": {},
	}
	sha := repo.CommitFiles("main", files)
	want := snapshot(t, repo.Clone(sha))
	if diff := cmp.Diff(want, snapshot(t, mustFetch(t, from(t, gittest.NewServer(t, repo)), sha))); diff != "" {
		t.Error(diff)
	}
	changed, err := os.ReadFile(filepath.Join(repo.Clone(sha), "gradlew.bat"))
	if err != nil || string(changed) != "a\r\nb\r\nc" {
		t.Errorf("git itself converted nothing: %q %v", changed, err)
	}
}

func TestACancelledFetchReturnsAtOnceInEveryPhase(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	srv := gittest.NewServer(t, repo)
	reached := make(chan struct{}, 8)
	hang := srv.StallAfter(0)
	phases := map[string]func(s *gittest.Server){
		"list of refs": func(s *gittest.Server) { s.Use(silent(reached)) },
		"first byte":   func(s *gittest.Server) { s.Use(signal(reached, hang)) },
		"in the pack":  func(s *gittest.Server) { s.Use(signal(reached, srv.StallAfter(300_000))) },
	}
	for name, set := range phases {
		set(srv)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-reached
			time.Sleep(50 * time.Millisecond)
			cancel()
		}()
		dir := filepath.Join(t.TempDir(), "release")
		begin := time.Now()
		err := from(t, srv).Fetch(ctx, sha, dir)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("%s: it took %s to return", name, d)
		}
		if left := snapshot(t, filepath.Dir(dir)); len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
		cancel()
	}
	srv.Use(nil)
	mustFetch(t, from(t, srv), sha)
}
