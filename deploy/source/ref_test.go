package source_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

func TestARefBecomesTheCommitThatGitWouldTake(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	one := repo.Commit(map[string]string{"v": "1"})
	two := repo.Commit(map[string]string{"v": "2"})
	three := repo.Commit(map[string]string{"v": "3"})
	repo.Tag("light", one)
	repo.AnnotatedTag("v1.4.2", one)
	repo.Git("tag", "-a", "-m", "of a tag", "nested", "v1.4.2")
	repo.Branch("feature/login", two)
	repo.Branch("both-same", one)
	repo.Tag("both-same", one)
	repo.Branch("both", one)
	repo.Tag("both", two)
	repo.Git("update-ref", "refs/pull/7/head", two)
	repo.Branch("deadbeef", two)
	srv := gittest.NewServer(t, repo)
	s := oursFrom(t, srv)

	for ref, want := range map[string]string{
		"main": three, "HEAD": three, "refs/heads/main": three, "heads/main": three, "light": one, "v1.4.2": one, "tags/v1.4.2": one,
		"refs/tags/v1.4.2": one, "nested": one, "feature/login": two, "both-same": one, "refs/heads/both": one, "refs/tags/both": two,
		"refs/pull/7/head": two, "pull/7/head": two, "deadbeef": two,
	} {
		if got, err := s.Resolve(context.Background(), ref); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", ref, got, err, want)
		}
	}
	for ref, want := range map[string]struct {
		is   error
		says string
	}{
		"mian":                   {source.ErrRefNotFound, "did you mean main?"},
		"v1.4.3":                 {source.ErrRefNotFound, "did you mean v1.4.2?"},
		"something-else":         {source.ErrRefNotFound, "the default branch is main"},
		one[:7]:                  {source.ErrRefNotFound, "all 40 digits (" + one},
		"abcdef1":                {source.ErrRefNotFound, "all 40 digits"},
		"both":                   {source.ErrAmbiguous, "refs/tags/both (" + two + ") or refs/heads/both (" + one + ")"},
		"refs/heads/v1.4.2":      {source.ErrRefNotFound, ""},
		strings.Repeat("x", 255): {source.ErrRefNotFound, ""},
	} {
		_, err := s.Resolve(context.Background(), ref)
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) || isRevision(err) {
			t.Errorf("%s: %v, want %q", ref, err, want.says)
		}
	}
	before := len(srv.Requests())
	if got, err := s.Resolve(context.Background(), strings.ToUpper(one)); err != nil || got != one {
		t.Errorf("a full SHA: %s %v", got, err)
	}
	for _, ref := range badRefs {
		if _, err := s.Resolve(context.Background(), ref); !errors.Is(err, source.ErrBadRef) {
			t.Errorf("%q: %v", ref, err)
		}
	}
	if after := len(srv.Requests()); after != before {
		t.Errorf("%d requests were made for what needs none", after-before)
	}
}

var badRefs = []string{
	"", "-x", "--upload-pack=x", "a b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "a[b", `a\b`, "/a", "a/", "a//b", ".a", "a/.b", "a.lock",
	"a.lock/b", "a.", "@", "a@{1}", "a\x00b", "a\nb", "a\x7f", strings.Repeat("x", 256), strings.Repeat("ab", 32), "{\"schema\": 1}",
}

func TestTheRulesForNamesAreGits(t *testing.T) {
	t.Parallel()
	for _, ref := range append([]string{"main", "a/b", "v1.0-rc1", "ünï", "a@b", "a.b", "x{y", "#1", "a-", "日本"}, badRefs...) {
		if strings.ContainsAny(ref, "\x00") || len(ref) > 60 {
			continue // can't be an argument; a limit of ours
		}
		if ref == "@" {
			continue // --branch reads it as HEAD
		}
		gits := exec.Command("git", "check-ref-format", "--branch", ref).Run() == nil
		if ours := source.CheckRef(ref) == nil; ours != gits {
			t.Errorf("%q: git says %v, we say %v", ref, gits, ours)
		}
	}
}

func TestAnEmptyRepositorySaysSo(t *testing.T) {
	t.Parallel()
	srv := gittest.NewServer(t, gittest.NewRepo(t))
	if _, err := from(t, srv).Resolve(context.Background(), "main"); !errors.Is(err, source.ErrEmptyRepository) {
		t.Errorf("resolve: %v", err)
	}
	if _, err := fetch(t, from(t, srv), strings.Repeat("ab", 20)); !errors.Is(err, source.ErrEmptyRepository) {
		t.Errorf("fetch: %v", err)
	}
}

func TestConfigurationsThatCanNotWorkAreRefusedWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	cases := map[string]struct {
		config source.Config
		want   string
	}{
		"none":            {source.Config{}, "missing"},
		"userinfo":        {source.Config{URL: "https://me:" + secret + "@example.com/a.git"}, "carries credentials"},
		"user alone":      {source.Config{URL: "https://" + secret + "@example.com/a.git"}, "carries credentials"},
		"broken":          {source.Config{URL: "https://me:" + secret + "@exa mple.com/%zz"}, "is no URL"},
		"file":            {source.Config{URL: "file:///srv/a.git"}, "https, http or ssh"},
		"path":            {source.Config{URL: "/srv/a.git"}, "https, http or ssh"},
		"a key for HTTP":  {source.Config{URL: "https://example.com/a.git", Auth: source.Auth{Key: secret}}, "deploy key is for SSH"},
		"hosts for HTTP":  {source.Config{URL: "https://example.com/a.git", KnownHosts: "x"}, "known_hosts is for SSH"},
		"no path":         {source.Config{URL: "https://example.com/"}, "path is missing"},
		"query":           {source.Config{URL: "https://example.com/a.git?x=1"}, "neither a query"},
		"clear text":      {source.Config{URL: "http://example.com/a.git", Auth: source.Auth{Secret: secret}}, "clear text"},
		"no secret":       {source.Config{URL: "https://example.com/a.git", Auth: source.Auth{User: "me"}}, "no password"},
		"line break":      {source.Config{URL: "https://example.com/a.git", Auth: source.Auth{Secret: secret + "\n"}}, "line break"},
		"colon in a name": {source.Config{URL: "https://example.com/a.git", Auth: source.Auth{User: "a:b", Secret: secret}}, "colon"},
	}
	for name, c := range cases {
		_, err := source.New(c.config)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for _, ok := range []source.Config{
		{URL: "https://example.com/a"}, {URL: "https://example.com/a.git/"}, {URL: "http://127.0.0.1:8/a", Auth: source.Auth{Secret: "x"}},
		{URL: "http://10.0.0.1/a", Auth: source.Auth{Secret: "x"}, AllowPlaintextAuth: true},
	} {
		if _, err := source.New(ok); err != nil {
			t.Errorf("%s: %v", ok.URL, err)
		}
	}
}
