package source_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gittest"
)

// gitmodules is the text of a .gitmodules for path, url, path, url…
func gitmodules(pairs ...string) gittest.File {
	var text strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&text, "[submodule \"m%d\"]\n\tpath = %s\n\turl = %s\n", i/2, pairs[i], pairs[i+1])
	}
	return gittest.File{Body: text.String()}
}

// nested is a repository with submodules in submodules, and what git makes of it over HTTP.
func nested(t *testing.T) (repo *gittest.Repo, sha string, want map[string]string) {
	t.Helper()
	repo = gittest.NewRepo(t)
	leaf, lib := repo.Neighbour("leaf.git"), repo.Neighbour("lib.git")
	old := leaf.Commit(map[string]string{"leaf.txt": "old\n", "x.bat": "a\nb\n", ".gitattributes": "*.bat eol=crlf\n"})
	leaf.Commit(map[string]string{"leaf.txt": "new\n"})
	libSHA := lib.CommitFiles("main", map[string]gittest.File{
		"lib.txt": {Body: "lib\n"}, "y.bat": {Body: "a\nb\n"}, "up": {Body: "lib.txt", Link: true},
		".gitmodules": gitmodules("deep/leaf", "../leaf.git"), "deep/leaf": {Body: old, Submodule: true},
	})
	own := repo.Commit(map[string]string{"own.txt": "an older self\n"})
	sha = repo.CommitFiles("main", map[string]gittest.File{
		"main.txt": {Body: "main\n"}, ".gitattributes": {Body: "*.bat eol=crlf\nvendor/lib/*.txt filter=lfs\n"},
		".gitmodules": gitmodules("vendor/lib", "../lib.git", "leaf", "./../leaf.git", "self", "./", "gone", "../gone.git"),
		"vendor/lib":  {Body: libSHA, Submodule: true}, "leaf": {Body: old, Submodule: true}, "self": {Body: own, Submodule: true},
		"into": {Body: "vendor/lib/lib.txt", Link: true},
	})
	srv := gittest.NewServer(t, repo)
	dir := filepath.Join(t.TempDir(), "clone")
	cmd := exec.Command("git", "clone", "-q", "--recurse-submodules", srv.CloneURL(), dir)
	cmd.Env = gittest.Environment(t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want = snapshot(t, dir)
	if want["vendor/lib/deep/leaf/leaf.txt"] == "" || want["self/own.txt"] == "" {
		t.Fatalf("git itself fetched no submodules: %v", want)
	}
	return repo, sha, want
}

func TestSubmodulesAreExactlyWhatGitChecksOutOverBothTransports(t *testing.T) {
	t.Parallel()
	repo, sha, want := nested(t)
	sources := map[string]*source.Source{
		"HTTP":            from(t, gittest.NewServer(t, repo)),
		"HTTP, tips only": from(t, gittest.NewServer(t, repo, gittest.WithoutSHA(), gittest.With(tipsOnlyOfAll))),
		"HTTP, a token":   newSource(t, source.Config{URL: gittest.NewServer(t, repo, gittest.WithAuth("", "pw")).CloneURL(), Auth: source.Auth{Secret: "pw"}}),
		"SSH":             fromSSH(t, gittest.NewSSHServer(t, repo, gittest.SSHOptions{})),
		"SSH, tips only":  fromSSH(t, gittest.NewSSHServer(t, repo, gittest.SSHOptions{TipsOnly: true})),
	}
	for name, s := range sources {
		if diff := cmp.Diff(want, snapshot(t, mustFetch(t, s, sha))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// tipsOnlyOfAll takes away what over HTTP makes git generous; the old leaf commit then needs the whole history.
func tipsOnlyOfAll(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "leaf.git") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			if bytes.Contains(body, []byte("deepen")) {
				refusal := "ERR upload-pack: not our ref"
				fmt.Fprintf(w, "%04x%s", len(refusal)+4, refusal)
				return
			}
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
	})
}

func TestAbsoluteURLsOnTheSameHostAndThoseAllowedAreFollowed(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	lib := repo.Neighbour("lib.git")
	libSHA := lib.Commit(map[string]string{"l": "1"})
	with := func(url string) string {
		return repo.CommitFiles("main", map[string]gittest.File{
			".gitmodules": gitmodules("lib", url), "lib": {Body: libSHA, Submodule: true},
		})
	}
	elsewhere := gittest.NewServer(t, repo)
	locked := gittest.NewServer(t, repo, gittest.WithAuth("", "pw"))
	secure := gittest.NewSSHServer(t, repo, gittest.SSHOptions{})
	otherHost := strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)
	overHTTP := source.Config{URL: locked.CloneURL(), Auth: source.Auth{Secret: "pw"}}
	overSSH := sshConfig(secure)
	allowing := func(c source.Config, hosts ...string) source.Config {
		c.SubmoduleHosts = hosts
		return c
	}
	for name, c := range map[string]struct {
		config source.Config
		url    string
		want   string // "" is fetched
	}{
		"same host":              {overHTTP, locked.URL + "/lib.git", ""},
		"same host over SSH":     {overSSH, secure.URL(lib.Dir), ""},
		"another port":           {overHTTP, elsewhere.URL + "/lib.git", "source.submodule_hosts"},
		"another host":           {overHTTP, otherHost + "/lib.git", "source.submodule_hosts"},
		"allowed":                {allowing(overHTTP, strings.TrimPrefix(elsewhere.URL, "http://")), elsewhere.URL + "/lib.git", ""},
		"allowed by name":        {allowing(overHTTP, "LOCALHOST:"+otherHost[len("http://localhost:"):]), otherHost + "/lib.git", ""},
		"allowed, without port":  {allowing(overHTTP, "localhost"), otherHost + "/lib.git", "source.submodule_hosts"},
		"HTTP from SSH, allowed": {allowing(overSSH, strings.TrimPrefix(elsewhere.URL, "http://")), elsewhere.URL + "/lib.git", ""},
		"locked, from SSH":       {allowing(overSSH, strings.TrimPrefix(locked.URL, "http://")), locked.URL + "/lib.git", "401"},
		"SSH from HTTP":          {allowing(overHTTP, secure.Host+":"+secure.Port), secure.URL(lib.Dir), "is for SSH"},
		"SSH as somebody else":   {allowing(overSSH, secure.Host+":"+secure.Port), strings.Replace(secure.URL(lib.Dir), "git@", "root@", 1), "is for SSH to root@"},
		"short form":             {overSSH, "git@127.0.0.1:lib.git", "is for SSH"},
	} {
		before, commands := len(elsewhere.Requests()), len(secure.Commands())
		dir, err := fetch(t, newSource(t, c.config), with(c.url))
		if c.want == "" {
			if err != nil || snapshot(t, dir)["lib/l"] == "" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `submodule "lib"`) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if len(elsewhere.Requests()) != before || len(secure.Commands())-commands > 1 {
			t.Errorf("%s: another server was asked", name)
		}
	}
	for _, r := range elsewhere.Requests() {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("the credentials went to another host, for %s", r.URL)
		}
	}
	for _, bad := range []string{"", "https://example.com", "a b", "*.example.com", "example.com:x", "-x"} {
		if _, err := source.New(allowing(overHTTP, bad)); err == nil || !strings.Contains(err.Error(), "source.submodule_hosts") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
