package source_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/gittest"
)

// byGit is a source that runs the machine's git.
func byGit(t testing.TB, url string) *source.Source {
	t.Helper()
	return newSource(t, source.Config{URL: url, Engine: source.EngineGit})
}

// gitOverSSH is a configuration for an SSH server of a test's.
func gitOverSSH(srv *gittest.SSHServer) source.Config {
	return source.Config{URL: srv.CloneURL(), KnownHosts: srv.KnownHosts, Auth: source.Auth{Key: source.Secret(srv.ClientKey)}, Engine: source.EngineGit}
}

func TestGitBringsTheSameTreeFromEveryKindOfServer(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	want := snapshot(t, repo.Clone(sha))
	tag := repo.AnnotatedTag("v1", sha)
	sources := map[string]func(testing.TB) *source.Source{
		"SSH": func(t testing.TB) *source.Source {
			gittest.Need(t, "ssh", "openssh-client")
			return newSource(t, gitOverSSH(gittest.NewSSHServer(t, repo, gittest.SSHOptions{})))
		},
		"credentials": func(t testing.TB) *source.Source {
			srv := gittest.NewServer(t, repo, gittest.WithAuth("me", "right and ünusual=%'\""))
			return newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{User: "me", Secret: "right and ünusual=%'\""}, Engine: source.EngineGit})
		},
	}
	for name, opts := range map[string][]gittest.Option{
		"by SHA": nil, "tips only": {gittest.WithoutSHA()}, "nothing but everything": {gittest.WithoutSHA(), gittest.With(tipsOnly(repo))},
	} {
		sources[name] = func(t testing.TB) *source.Source { return byGit(t, gittest.NewServer(t, repo, opts...).CloneURL()) }
	}
	for name, open := range sources {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if diff := cmp.Diff(want, snapshot(t, mustFetch(t, s, sha))); diff != "" {
				t.Error(diff)
			}
			for _, ref := range []string{"main", "v1", "HEAD", "refs/tags/v1"} {
				if got, err := s.Resolve(context.Background(), ref); err != nil || got != sha {
					t.Errorf("%s is %s, %v", ref, got, err)
				}
			}
			if _, err := s.Resolve(context.Background(), "mian"); !errors.Is(err, source.ErrRefNotFound) || !strings.Contains(err.Error(), "did you mean main") {
				t.Errorf("a branch that is not there: %v", err)
			}
			if _, err := fetch(t, s, strings.Repeat("12", 20)); !errors.Is(err, source.ErrNoRevision) || isRevision(err) {
				t.Errorf("a commit that nobody has: %v", err)
			}
			if _, err := fetch(t, s, tag); !isRevision(err) {
				t.Errorf("a tag's own SHA: %v", err)
			}
		})
	}
}

func TestWhatOurReaderRefusesGitConverts(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{
		".gitattributes": "*.ps1 working-tree-encoding=UTF-16\n*.c ident\n*.bat eol=crlf\nsecret export-ignore\n*.sub export-subst\nall/** export-ignore export-subst\n",
		"a.ps1":          "write ü\n", "a.c": "/* $Id$ */\n", "a.bat": "x\ny\n", "secret": "kept\n", "v.sub": "$Format:%H$\n", "all/x": "$Format:%H$\n",
	})
	want := snapshot(t, repo.Clone(sha))
	srv := gittest.NewServer(t, repo)
	core, logs := observer.New(zapcore.InfoLevel)
	auto := newSource(t, source.Config{URL: srv.CloneURL(), Log: zap.New(core)})
	for name, s := range map[string]*source.Source{"git": byGit(t, srv.CloneURL()), "auto": auto} {
		if diff := cmp.Diff(want, snapshot(t, mustFetch(t, s, sha))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	told := logs.FilterMessage("the machine's git has to do it").All()
	if len(told) != 1 || !strings.Contains(fmt.Sprint(told[0].ContextMap()["reason"]), "a.ps1") && !strings.Contains(fmt.Sprint(told[0].ContextMap()["reason"]), "a.c") {
		t.Errorf("the log says %v", logs.All())
	}
	_, err := fetch(t, oursFrom(t, srv), sha)
	demands(t, "our own reader", err, "with auto an installed git would do it")
	bad := repo.Commit(map[string]string{".gitattributes": "*.ps1 working-tree-encoding=NONSENSE-8\n"})
	_, err = fetch(t, byGit(t, srv.CloneURL()), bad)
	demands(t, "an encoding that nobody knows", err, "working-tree-encoding")
}

func TestFiltersThatNothingHereIsConfiguredForAreRefused(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	marker := filepath.Join(t.TempDir(), "ran")
	sha := repo.Commit(map[string]string{
		"s/.gitattributes": "* filter=git-crypt\n", "s/a": "x",
		".gitconfig": "[filter \"git-crypt\"]\n\tsmudge = touch " + marker + "\n",
	})
	srv := gittest.NewServer(t, repo)
	for name, s := range map[string]*source.Source{"git": byGit(t, srv.CloneURL()), "auto": from(t, srv)} {
		_, err := fetch(t, s, sha)
		demands(t, name, err, `the filter "git-crypt"`)
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("the repository's filter ran")
	}
}

func TestRepositoriesWithSHA256AreReadByGit(t *testing.T) {
	t.Parallel()
	repo := gittest.NewSHA256Repo(t)
	alice, mallory := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "ed25519")
	base := repo.Commit(map[string]string{"a/b": "1", "run": "2"})
	sha := repo.SignedCommit(alice, base)
	repo.SignedTag(alice, "v1", base)
	repo.Branch("plain", base)
	want := snapshot(t, repo.Clone(sha))
	srv := gittest.NewServer(t, repo)
	for _, s := range []*source.Source{byGit(t, srv.CloneURL()), from(t, srv)} {
		if got, err := s.Resolve(context.Background(), "main"); err != nil || got != sha || len(got) != 64 {
			t.Errorf("main is %s, %v", got, err)
		}
		if got, err := s.Resolve(context.Background(), strings.ToUpper(sha)); err != nil || got != sha {
			t.Errorf("the SHA is %s, %v", got, err)
		}
		if diff := cmp.Diff(want, snapshot(t, mustFetch(t, s, sha))); diff != "" {
			t.Error(diff)
		}
	}
	if _, err := fetch(t, oursFrom(t, srv), sha); !errors.Is(err, source.ErrSHA256) {
		t.Errorf("our own reader: %v", err)
	}
	commits := newSource(t, source.Config{URL: srv.CloneURL(), Verify: &source.Verification{Trust: trusting(t, alice)}})
	tags := newSource(t, source.Config{URL: srv.CloneURL(), Verify: &source.Verification{Tag: true, Trust: trusting(t, alice)}})
	nobody := newSource(t, source.Config{URL: srv.CloneURL(), Verify: &source.Verification{Trust: trusting(t, mallory)}})
	mustFetch(t, commits, sha)
	mustFetch(t, tags, base)
	for _, err := range []error{commits.Verify(context.Background(), sha), tags.Verify(context.Background(), base)} {
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := tags.Resolve(context.Background(), "v1"); err != nil || got != base {
		t.Errorf("v1 is %s, %v", got, err)
	}
	_, err := fetch(t, commits, base)
	demands(t, "an unsigned commit", err, "not signed")
	_, err = fetch(t, nobody, sha)
	demands(t, "a stranger's", err, "does not list")
	demands(t, "a stranger's", nobody.Verify(context.Background(), sha), "does not list")
	demands(t, "a commit without a tag", tags.Verify(context.Background(), sha), "no annotated tag")
}

func TestGitIsHeldToTheSignersAsWell(t *testing.T) {
	t.Parallel()
	alice, mallory := gittest.NewSSHSigner(t, "ed25519"), gittest.NewSSHSigner(t, "ed25519")
	repo := gittest.NewRepo(t)
	base := repo.Commit(map[string]string{"a": "1"})
	repo.SignedTag(alice, "v1", base)
	signed := repo.SignedCommit(alice, base)
	repo.SignedTag(mallory, "v2", signed)
	for _, opts := range [][]gittest.Option{nil, {gittest.WithConfig("uploadpack.allowFilter", "true")}} {
		srv := gittest.NewServer(t, repo, opts...)
		for name, c := range map[string]struct {
			verify    source.Verification
			good, bad string
			says      string
			ref       string
			refSays   string
		}{
			"commit": {source.Verification{Trust: trusting(t, alice)}, signed, base, "not signed", "", ""},
			"tag":    {source.Verification{Tag: true, Trust: trusting(t, alice)}, base, signed, "does not list", "v2", "does not list"},
		} {
			s := newSource(t, source.Config{URL: srv.CloneURL(), Engine: source.EngineGit, Verify: &c.verify})
			mustFetch(t, s, c.good)
			if err := s.Verify(context.Background(), c.good); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			_, err := fetch(t, s, c.bad)
			demands(t, name, err, c.says)
			demands(t, name, s.Verify(context.Background(), c.bad), c.says)
			if c.ref != "" {
				_, err := s.Resolve(context.Background(), c.ref)
				demands(t, name, err, c.refSays)
			}
		}
	}
}

// lfsServer serves objects of Git LFS beside a repository, to who knows the password.
func lfsServer(t testing.TB, repo *gittest.Repo, objects ...string) *gittest.Server {
	t.Helper()
	var srv *gittest.Server
	known := map[string]string{}
	for _, o := range objects {
		known[fmt.Sprintf("%x", sha256.Sum256([]byte(o)))] = o
	}
	srv = gittest.NewServer(t, repo, gittest.WithAuth("", "right"), gittest.With(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, object, isObject := strings.Cut(r.URL.Path, "/lfs-objects/")
			switch {
			case strings.HasSuffix(r.URL.Path, "/info/lfs/objects/batch"):
				if _, password, _ := r.BasicAuth(); password != "right" {
					w.Header().Set("LFS-Authenticate", `Basic realm="lfs"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				var asked struct {
					Objects []struct {
						OID  string `json:"oid"`
						Size int64  `json:"size"`
					} `json:"objects"`
				}
				_ = json.NewDecoder(r.Body).Decode(&asked) // an empty list is answered with one
				var answers []any
				for _, o := range asked.Objects {
					answers = append(answers, map[string]any{"oid": o.OID, "size": o.Size, "authenticated": true,
						"actions": map[string]any{"download": map[string]any{"href": srv.URL + "/lfs-objects/" + o.OID}}})
				}
				w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
				_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": answers})
			case isObject && known[object] != "":
				_, _ = w.Write([]byte(known[object]))
			case isObject:
				http.NotFound(w, r)
			default:
				next.ServeHTTP(w, r)
			}
		})
	}))
	return srv
}

func pointerTo(content string) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n", sha256.Sum256([]byte(content)), len(content))
}

func TestGitLFSFilesAreFetchedByGit(t *testing.T) {
	t.Parallel()
	gittest.Need(t, "git-lfs", "git-lfs")
	repo := gittest.NewRepo(t)
	model, other := noise(3, 200_000), "another\n"
	sha := repo.Commit(map[string]string{
		".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "model.bin": pointerTo(model), "sub/other.bin": pointerTo(other), "plain": "x\n",
		".lfsconfig": "[lfs]\n\turl = http://127.0.0.1:1/elsewhere\n",
	})
	srv := lfsServer(t, repo, model, other)
	for _, engine := range []source.Engine{source.EngineAuto, source.EngineGit} {
		dir := mustFetch(t, newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "right"}, Engine: engine}), sha)
		for name, want := range map[string]string{"model.bin": model, "sub/other.bin": other, "plain": "x\n"} {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
				t.Errorf("%s: %s has %d bytes, want %d (%v)", engine, name, len(got), len(want), err)
			}
		}
		if got := snapshot(t, dir); len(got) != 6 {
			t.Errorf("%s: there is %v", engine, got)
		}
	}
	s := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "right"}})
	lost := repo.Commit(map[string]string{"lost.bin": pointerTo("nobody has it")})
	if _, err := fetch(t, s, lost); err == nil || !strings.Contains(err.Error(), "lost.bin") {
		t.Errorf("an object that the server has lost: %v", err)
	}
	loose := repo.CommitFiles("loose", map[string]gittest.File{"loose.dat": {Body: pointerTo(other)}})
	_, err := fetch(t, s, loose)
	demands(t, "a pointer without the attribute", err, "git lfs track")
	big := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: "right"}, Limits: tree.Limits{FileBytes: 100_000}})
	var limit *tree.LimitError
	if _, err := fetch(t, big, sha); !errors.As(err, &limit) || !isRevision(err) {
		t.Errorf("a file beyond the limit: %v", err)
	}
}

func TestGitsFailuresAreToldApart(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	srv := gittest.NewServer(t, repo, gittest.WithAuth("", "right"))
	with := func(secret, url string) *source.Source {
		return newSource(t, source.Config{URL: url, Auth: source.Auth{Secret: source.Secret(secret)}, Engine: source.EngineGit})
	}
	cases := map[string]struct {
		source *source.Source
		is     error
	}{
		"no credentials":    {byGit(t, srv.CloneURL()), source.ErrDenied},
		"wrong credentials": {with("wrong", srv.CloneURL()), source.ErrDenied},
		"no repository":     {with("right", srv.URL+"/nothing.git"), source.ErrNoRepository},
	}
	if _, err := os.Stat("/usr/bin/ssh"); err == nil {
		host := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
		private, stranger := gittest.NewKey(t)
		denied := gitOverSSH(host)
		denied.Auth.Key = source.Secret(private)
		cases["another key of ours"] = struct {
			source *source.Source
			is     error
		}{newSource(t, denied), source.ErrDenied}
		for name, line := range map[string]string{
			"another key of theirs": fmt.Sprintf("[%s]:%s %s", host.Host, host.Port, ssh.MarshalAuthorizedKey(stranger.PublicKey())),
			"a revoked key":         host.KnownHosts + "@revoked * " + strings.SplitN(host.KnownHosts, " ", 2)[1],
		} {
			c := gitOverSSH(host)
			c.KnownHosts = line
			cases[name] = struct {
				source *source.Source
				is     error
			}{newSource(t, c), source.ErrHostKey}
		}
	}
	for name, c := range cases {
		_, err := fetch(t, c.source, sha)
		if !errors.Is(err, c.is) || isRevision(err) || !decent(err) || strings.Contains(err.Error(), "wrong") && strings.Contains(name, "wrong ") && strings.Contains(err.Error(), ":wrong") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.source.Resolve(context.Background(), "main"); !errors.Is(err, c.is) {
			t.Errorf("%s: resolve: %v", name, err)
		}
	}
	moved := gittest.NewServer(t, repo, gittest.With(gittest.RedirectTo(srv.URL, http.StatusFound)))
	if _, err := fetch(t, byGit(t, moved.CloneURL()), sha); err == nil || !strings.Contains(err.Error(), "source.url") {
		t.Errorf("a redirect: %v", err)
	}
}

func TestACancelledGitLeavesNothing(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	srv := gittest.NewServer(t, repo)
	reached := make(chan struct{}, 8)
	srv.Use(signal(reached, srv.StallAfter(300_000)))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-reached
		time.Sleep(50 * time.Millisecond)
		cancel()
	}()
	dir := filepath.Join(t.TempDir(), "release")
	if err := byGit(t, srv.CloneURL()).Fetch(ctx, sha, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := snapshot(t, filepath.Dir(dir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if running := processesWith(t, srv.CloneURL()); len(running) > 0 {
		t.Errorf("still running: %v", running)
	}
}

// processesWith are the processes that have a text in their arguments.
func processesWith(t testing.TB, text string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		args, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(args), text) { // an error: it has just ended
			found = append(found, strings.ReplaceAll(string(args), "\x00", " "))
		}
	}
	return found
}

func TestASilentServerEndsGit(t *testing.T) {
	t.Parallel()
	repo, sha := variedRepo(t)
	srv := gittest.NewServer(t, repo)
	srv.Use(srv.StallAfter(300_000))
	s := newSource(t, source.Config{URL: srv.CloneURL(), Engine: source.EngineGit, Idle: time.Second})
	if _, err := fetch(t, s, sha); err == nil || isRevision(err) {
		t.Errorf("got %v", err)
	}
}

func TestSubmodulesComeByGitUnderTheSameRules(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	lib := repo.Neighbour("lib.git")
	inner := lib.Commit(map[string]string{"l.c": "$Id$\n", ".gitattributes": "*.c ident\n"}) // for git
	gitmodules := func(url string) map[string]gittest.File {
		return map[string]gittest.File{
			".gitmodules": {Body: "[submodule \"lib\"]\n\tpath = lib\n\turl = " + url + "\n"}, "lib": {Body: inner, Submodule: true}, "own": {Body: "x"},
		}
	}
	sha := repo.CommitFiles("main", gitmodules("../lib.git"))
	srv := gittest.NewServer(t, repo)
	for name, s := range map[string]*source.Source{"git": byGit(t, srv.CloneURL()), "auto": from(t, srv)} {
		dir := mustFetch(t, s, sha)
		if got, err := os.ReadFile(filepath.Join(dir, "lib", "l.c")); err != nil || !strings.HasPrefix(string(got), "$Id: ") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "own")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for url, says := range map[string]string{"/etc": "refused", "ext::sh -c x": "refused", "https://elsewhere.example/x.git": "submodule_hosts"} {
		_, err := fetch(t, byGit(t, srv.CloneURL()), repo.CommitFiles("main", gitmodules(url)))
		demands(t, url, err, says)
	}
}

func TestTheMachinesGitConfigurationIsNotRead(t *testing.T) { // not parallel: it changes the environment
	repo := gittest.NewRepo(t)
	sha := repo.Commit(map[string]string{"a": "1\n"})
	srv := gittest.NewServer(t, repo)
	home := t.TempDir()
	bad := "[url \"http://127.0.0.1:1/\"]\n\tinsteadOf = " + srv.URL + "\n[core]\n\tautocrlf = true\n\teol = crlf\n"
	for _, name := range []string{".gitconfig", "git/config", "system"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, name), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": home, "GIT_CONFIG_GLOBAL": filepath.Join(home, "system"), "GIT_CONFIG_SYSTEM": filepath.Join(home, "system"), "GIT_DIR": home,
		"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url.http://127.0.0.1:1/.insteadOf", "GIT_CONFIG_VALUE_0": srv.URL, "GIT_SSH_COMMAND": "false",
		"GIT_ASKPASS": "/bin/false", "GIT_TRACE": filepath.Join(home, "trace"),
	} {
		t.Setenv(name, value)
	}
	if got, err := os.ReadFile(filepath.Join(mustFetch(t, byGit(t, srv.CloneURL()), sha), "a")); err != nil || string(got) != "1\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(home, "trace")); err == nil {
		t.Error("git saw the agent's environment")
	}
}
