package source_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/gittest"
)

// replaceInBody changes what a request asks for; from and to are of one length.
func replaceInBody(r *http.Request, from, to string) *http.Request {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	changed := r.Clone(r.Context())
	changed.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte(from), []byte(to))))
	return changed
}

// tipsOnly refuses what no ref points to, in the words of git's upload-pack.c. Over HTTP git itself is more generous than it
// says, but other servers aren't.
func tipsOnly(repo *gittest.Repo) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				next.ServeHTTP(w, r)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			tips := repo.Git("for-each-ref", "--format=%(objectname)")
			for _, line := range strings.Split(string(body), "\n") {
				if _, want, ok := strings.Cut(line, "want "); ok && !strings.Contains(tips, want[:40]) {
					refusal := "ERR upload-pack: not our ref " + want[:40]
					fmt.Fprintf(w, "%04x%s", len(refusal)+4, refusal)
					return
				}
			}
			again := r.Clone(r.Context())
			again.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, again)
		})
	}
}

// item is one line of a tree object, written as it is.
type item struct{ mode, name, hash string }

func blob(t testing.TB, repo *gittest.Repo, body string) string {
	t.Helper()
	return repo.GitIn(body, "hash-object", "-w", "--stdin")
}

// crafted writes a tree object that git itself would not.
func crafted(t testing.TB, repo *gittest.Repo, items ...item) string {
	t.Helper()
	var raw bytes.Buffer
	for _, i := range items {
		hash, err := hex.DecodeString(i.hash)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&raw, "%s %s\x00%s", i.mode, i.name, hash)
	}
	return repo.GitIn(raw.String(), "hash-object", "-w", "-t", "tree", "--literally", "--stdin")
}

func commitOf(repo *gittest.Repo, treeSHA string) string {
	sha := repo.Git("commit-tree", "-m", "crafted", treeSHA)
	repo.Branch("crafted-"+sha[:8], sha)
	return sha
}

func TestCraftedTreesAreTheRevisionsFaultAndLeaveNothing(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo)
	body := blob(t, repo, "#!/bin/sh\necho pwned\n")
	outside := blob(t, repo, "../../outside")
	absolute := blob(t, repo, "/etc")
	inner := crafted(t, repo, item{"100644", "x", body})
	hooks := crafted(t, repo, item{"40000", "hooks", crafted(t, repo, item{"100755", "post-checkout", body})})
	cases := map[string]struct {
		items []item
		want  string
	}{
		"parent":              {[]item{{"100644", "../x", body}}, "slash"},
		"dots":                {[]item{{"40000", "..", inner}}, ".."},
		"a path in a name":    {[]item{{"100644", "a/b", body}}, "slash"},
		"absolute":            {[]item{{"100644", "/etc/x", body}}, "slash"},
		"hooks":               {[]item{{"40000", ".git", hooks}}, ".git"},
		"hooks on NTFS":       {[]item{{"40000", "git~1", hooks}}, ".git"},
		"hooks in capitals":   {[]item{{"40000", ".GIT", hooks}}, ".git"},
		"hooks on HFS":        {[]item{{"40000", ".g\u200cit", hooks}}, ".git"},
		"control characters":  {[]item{{"100644", "a\x1b[2Jb", body}}, "control"},
		"escaping link":       {[]item{{"120000", "l", outside}}, "leads out"},
		"absolute link":       {[]item{{"120000", "l", absolute}}, "absolute"},
		"link, through it":    {[]item{{"120000", "l", absolute}, {"40000", "l", inner}}, "twice"},
		"through, then link":  {[]item{{"40000", "l", inner}, {"120000", "l", absolute}}, "twice"},
		".gitmodules link":    {[]item{{"120000", ".gitmodules", body}}, "symbolic link"},
		".gitattributes link": {[]item{{"120000", ".gitattributes", body}}, "symbolic link"},
		"duplicate":           {[]item{{"100644", "a", body}, {"100755", "a", body}}, "twice"},
		"file and directory":  {[]item{{"100644", "a", body}, {"40000", "a", inner}}, "twice"},
		"submodule":           {[]item{{"160000", "vendor/lib"[7:], strings.Repeat("ab", 20)}}, "no .gitmodules"},
		"device":              {[]item{{"20666", "null", body}}, "unknown mode"},
		"set-id":              {[]item{{"104755", "su", body}}, "unknown mode"},
		"long name":           {[]item{{"100644", strings.Repeat("n", 300), body}}, "255"},
	}
	for name, c := range cases {
		sha := commitOf(repo, crafted(t, repo, c.items...))
		_, err := fetch(t, from(t, srv), sha)
		if !isRevision(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want a RevisionError with %q", name, err, c.want)
		}
	}
	for name, c := range cases { // git is no way around it
		if name == "set-id" {
			continue // git reads it as an executable file, and so it is written
		}
		_, err := fetch(t, byGit(t, srv.CloneURL()), commitOf(repo, crafted(t, repo, c.items...)))
		if !isRevision(err) {
			t.Errorf("%s, by git: got %v, want a RevisionError", name, err)
		}
	}
	for name, sha := range map[string]string{"a tree": inner, "a blob": body} {
		if _, err := fetch(t, from(t, srv), sha); !isRevision(err) {
			t.Errorf("%s in the place of a commit: %v", name, err)
		}
	}
}

func TestATreeThatNeverEndsIsLeft(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo)
	full := crafted(t, repo, item{"100644", "f", blob(t, repo, "x")})
	empty := crafted(t, repo)
	for range 40 { // 2^40 directories in 42 objects
		full = crafted(t, repo, item{"40000", "a", full}, item{"40000", "b", full})
		empty = crafted(t, repo, item{"40000", "a", empty}, item{"40000", "b", empty})
	}
	s := newSource(t, source.Config{URL: srv.CloneURL(), Limits: tree.Limits{Files: 3000}})
	for _, top := range []string{full, empty} {
		for _, s := range []*source.Source{s, newSource(t, source.Config{URL: srv.CloneURL(), Limits: tree.Limits{Files: 3000}, Engine: source.EngineGit})} {
			_, err := fetch(t, s, commitOf(repo, top))
			var limit *tree.LimitError
			if !errors.As(err, &limit) || !isRevision(err) {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestLimitsAreTheRevisionsFault(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"zeros": strings.Repeat("\x00", 3<<20), "a/b/c/d": "x", "e": "y"})
	srv := gittest.NewServer(t, repo)
	for name, limits := range map[string]tree.Limits{
		"one file": {FileBytes: 1 << 20}, "bytes": {Bytes: 1 << 20}, "files": {Files: 3}, "depth": {Depth: 2},
	} {
		_, err := fetch(t, newSource(t, source.Config{URL: srv.CloneURL(), Limits: limits}), sha)
		var limit *tree.LimitError
		if !errors.As(err, &limit) || !isRevision(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// A history that is too big says nothing about the commit.
	repo.Commit(map[string]string{"zeros": "", "noise": noise(7, 1<<20)})
	first := repo.Git("rev-parse", "main")
	repo.CommitFiles("main", map[string]gittest.File{"noise": {Removed: true}})
	last := repo.Commit(map[string]string{"tip": "1"})
	plain := gittest.NewServer(t, repo, gittest.WithoutSHA(), gittest.With(tipsOnly(repo)))
	s := newSource(t, source.Config{URL: plain.CloneURL(), Limits: tree.Limits{FileBytes: 2 << 20}, Engine: source.EngineGoGit})
	mustFetch(t, s, last)
	if _, err := fetch(t, s, first); err == nil || isRevision(err) || !strings.Contains(err.Error(), "allowReachableSHA1InWant") {
		t.Errorf("a history beyond the limits: %v", err)
	}
}

func TestWhatACheckoutWouldChangeIsRefusedWithASentence(t *testing.T) {
	t.Parallel()
	const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
	cases := map[string]struct {
		files map[string]string
		want  string // "" is taken
	}{
		"LFS by filter":         {map[string]string{".gitattributes": "*.psd filter=lfs diff=lfs merge=lfs -text\n", "a/b.psd": "x"}, `"a/b.psd" has the filter "lfs"`},
		"LFS pointer":           {map[string]string{"model.bin": pointer}, `"model.bin" is a pointer of Git LFS`},
		"LFS by macro":          {map[string]string{".gitattributes": "*.psd lfs\n[attr]lfs filter=lfs\n", "b.psd": "x"}, "filter"},
		"LFS unused":            {map[string]string{".gitattributes": "*.psd filter=lfs\n", "a.png": "x"}, ""},
		"LFS taken back":        {map[string]string{".gitattributes": "*.psd filter=lfs\n", "t/.gitattributes": "*.psd -filter\n", "t/a.psd": "x"}, ""},
		"filter of a directory": {map[string]string{"s/.gitattributes": "secret/** filter=git-crypt\n", "s/secret/a/b": "x"}, "git-crypt"},
		"filter elsewhere":      {map[string]string{"s/.gitattributes": "secret/** filter=git-crypt\n", "secret/a": "x"}, ""},
		"UTF-16":                {map[string]string{".gitattributes": "*.ps1 working-tree-encoding=UTF-16\n", "a.ps1": "x"}, "working-tree-encoding"},
		"UTF-8":                 {map[string]string{".gitattributes": "*.ps1 working-tree-encoding=utf-8\n", "a.ps1": "x"}, ""},
		"ident":                 {map[string]string{".gitattributes": "*.c ident\n", "a.c": "/* $Id$ */"}, "ident"},
		"ident unused":          {map[string]string{".gitattributes": "*.c ident\n", "a.c": "/* Id */"}, ""},
		"nonsense":              {map[string]string{".gitattributes": "\"\"\n\"\n[attr]\n!x filter=a\n[z-a filter=a\n[ filter=b\n= - ! =x\n/ filter=c\n", "a": "x"}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := gittest.NewRepo(t)
			sha := repo.Commit(c.files)
			_, err := fetch(t, oursFrom(t, gittest.NewServer(t, repo)), sha)
			if c.want == "" && err != nil || c.want != "" && (!isRevision(err) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestARepositoryWithSHA256IsNotForOurOwnReaderAndItSaysSo(t *testing.T) {
	t.Parallel()
	repo := gittest.NewSHA256Repo(t)
	srv := gittest.NewServer(t, repo)
	repo.Commit(map[string]string{"a": "1"})
	if _, err := oursFrom(t, srv).Resolve(context.Background(), "main"); !errors.Is(err, source.ErrSHA256) {
		t.Errorf("got %v", err)
	}
}
