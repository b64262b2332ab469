package source_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/gittest"
)

func TestHostileSubmodulesAreTheRevisionsFaultAndLeaveNothing(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	lib := repo.Neighbour("lib.git")
	libSHA := lib.Commit(map[string]string{"l": "1"})
	outside := filepath.Join(t.TempDir(), "pwned")
	srv := gittest.NewServer(t, repo)
	link := func(path string) map[string]gittest.File {
		return map[string]gittest.File{path: {Body: libSHA, Submodule: true}}
	}
	with := func(files map[string]gittest.File, modules string) map[string]gittest.File {
		files[".gitmodules"] = gittest.File{Body: modules}
		return files
	}
	url := func(u string) map[string]gittest.File {
		return with(link("lib"), "[submodule \"lib\"]\n\tpath = lib\n\turl = \""+u+"\"\n")
	}
	const lead = "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n"
	cases := map[string]struct {
		files map[string]gittest.File
		want  string
	}{
		"a local path":         {url(lib.Dir), "refused"},
		"a file":               {url("file://" + lib.Dir), "refused"},
		"a remote helper":      {url("ext::sh -c touch% " + outside), "remote helpers"},
		"an option":            {url("--upload-pack=touch " + outside), "refused"},
		"an option as host":    {url("ssh://-oProxyCommand=touch/x"), "refused"},
		"an option as path":    {url("git@127.0.0.1:-oProxyCommand=touch"), "refused"},
		"git's own protocol":   {url("git://127.0.0.1/lib.git"), "refused"},
		"above the host":       {url("../../../../x.git"), "above the host"},
		"a password":           {url("https://me:hunter2@127.0.0.1/x.git"), "refused"},
		"metadata service":     {url("http://169.254.169.254/latest"), "169.254.169.254:80"},
		"a host that looks so": {url("http://127.0.0.1.example.com/lib.git"), "127.0.0.1.example.com:80"},
		"a line break":         {url(`https://127.0.0.1/a\nhost=x`), "control character"},
		"no entry":             {with(link("other"), lead), `"other" is a submodule, but .gitmodules has no entry`},
		"no file":              {link("lib"), "no .gitmodules"},
		"no url":               {with(link("lib"), "[submodule \"x\"]\npath = lib\n"), "has no url"},
		"a name with ..":       {with(link("lib"), strings.Replace(lead, `"lib"`, `"../../modules/x"`, 1)), ".. in it"},
		"a name with ..\\":     {with(link("lib"), strings.Replace(lead, `"lib"`, `"a\\..\\x"`, 1)), ".. in it"},
		"one path, two places": {with(link("lib"), lead+strings.Replace(lead, `"lib"`, `"again"`, 1)), "twice"},
		"two urls":             {with(link("lib"), lead+"url = https://127.0.0.1/x\n"), "url stands there 2 times"},
		"a command":            {with(link("lib"), lead+"update = !touch "+outside+"\n"), "would run a command"},
		"nonsense":             {with(link("lib"), "[submodule \"lib\nurl = x\x00"), "can't be read"},
		"too much":             {with(link("lib"), strings.Repeat("# noise\n", 40_000)), "limit"},
		"as a link": {map[string]gittest.File{"lib": {Body: libSHA, Submodule: true}, ".gitmodules": {Body: "x", Link: true},
			"x": {Body: lead}}, "symbolic link"},
	}
	n := 0
	for name, c := range cases {
		n++
		sha := repo.CommitFiles(fmt.Sprint("case-", n), c.files)
		before := len(srv.Requests())
		_, err := fetch(t, from(t, srv), sha)
		if !isRevision(err) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want a RevisionError with %q", name, err, c.want)
		}
		if asked := srv.Requests()[before:]; len(asked) > 2 {
			t.Errorf("%s: %d requests, the last for %s", name, len(asked), asked[len(asked)-1].URL)
		}
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a command was run")
	}
	// Paths that git itself would not write.
	repo.Commit(map[string]string{"a": "1"})
	modules := blob(t, repo, lead+strings.NewReplacer(`"lib"`, `"up"`, "= lib", "= ../up").Replace(lead))
	target := blob(t, repo, "/tmp")
	for name, items := range map[string][]item{
		"up":                {{"160000", "../up", libSHA}},
		"in .git":           {{"160000", ".git", libSHA}},
		"dots":              {{"160000", "..", libSHA}},
		"through a link":    {{"120000", "lib", target}, {"160000", "lib", libSHA}},
		"then a link":       {{"160000", "lib", libSHA}, {"120000", "lib", target}},
		"beside its files":  {{"160000", "lib", libSHA}, {"40000", "lib", crafted(t, repo, item{"100644", "l", target})}},
		"control character": {{"160000", "l\x1b[2J", libSHA}},
	} {
		_, err := fetch(t, from(t, srv), commitOf(repo, crafted(t, repo, append(items, item{"100644", ".gitmodules", modules})...)))
		var refused *tree.HostileError
		if !isRevision(err) || !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASubmoduleThatIsNotToBeFetchedStaysEmpty(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	sha := repo.CommitFiles("main", map[string]gittest.File{
		".gitmodules": {Body: "[submodule \"lib\"]\n\tpath = lib\n\turl = file:///x\n\tupdate = none\n"},
		"lib":         {Body: strings.Repeat("12", 20), Submodule: true},
	})
	if got := snapshot(t, mustFetch(t, from(t, gittest.NewServer(t, repo)), sha)); !strings.HasPrefix(got["lib"], "d") || len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestACommitThatASubmodulesServerLacksIsOfTheWorld(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	repo.Neighbour("lib.git").Commit(map[string]string{"l": "1"})
	with := func(url string) string {
		return repo.CommitFiles("main", map[string]gittest.File{
			".gitmodules": gitmodules("a/lib", url), "a/lib": {Body: strings.Repeat("12", 20), Submodule: true},
		})
	}
	for hint, s := range map[string]*source.Source{
		"what source.auth may read": from(t, gittest.NewServer(t, repo)),
		"a deploy key open one":     fromSSH(t, gittest.NewSSHServer(t, repo, gittest.SSHOptions{})),
	} {
		if _, err := fetch(t, s, with("../lib.git")); !errors.Is(err, source.ErrNoRevision) || isRevision(err) || !strings.Contains(err.Error(), `"a/lib"`) {
			t.Errorf("not pushed: %v", err)
		}
		if _, err := fetch(t, s, with("../no.git")); !errors.Is(err, source.ErrNoRepository) || isRevision(err) || !strings.Contains(err.Error(), hint) {
			t.Errorf("no such repository: %v", err)
		}
	}
}

func TestLimitsHoldForATreeWithAllItsSubmodules(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	lib := repo.Neighbour("lib.git")
	libSHA := lib.Commit(map[string]string{"noise": noise(3, 600<<10), "b": "1", "c": "1", "d": "1"})
	files := func(n int) map[string]gittest.File {
		all, pairs := map[string]gittest.File{}, []string{}
		for i := range n {
			path := fmt.Sprint("lib", i)
			all[path] = gittest.File{Body: libSHA, Submodule: true}
			pairs = append(pairs, path, "../lib.git")
		}
		all[".gitmodules"] = gitmodules(pairs...)
		return all
	}
	srv := gittest.NewServer(t, repo)
	one, three := repo.CommitFiles("one", files(1)), repo.CommitFiles("three", files(3))
	for name, limits := range map[string]tree.Limits{"bytes": {Bytes: 1 << 20}, "files": {Files: 12}} {
		s := newSource(t, source.Config{URL: srv.CloneURL(), Limits: limits})
		mustFetch(t, s, one)
		var limit *tree.LimitError
		if _, err := fetch(t, s, three); !errors.As(err, &limit) || !isRevision(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	small := repo.Neighbour("small.git").Commit(map[string]string{"s": "1"})
	all := files(101)
	for path, f := range all {
		if f.Submodule {
			all[path] = gittest.File{Body: small, Submodule: true}
		}
	}
	all[".gitmodules"] = gittest.File{Body: strings.ReplaceAll(all[".gitmodules"].Body, "lib.git", "small.git")}
	many := repo.CommitFiles("many", all)
	if _, err := fetch(t, from(t, srv), many); !isRevision(err) || !strings.Contains(err.Error(), "more than 100 submodules") {
		t.Errorf("too many: %v", err)
	}
}

func TestSubmodulesWithinThemselvesEnd(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	other := repo.Neighbour("other.git")
	srv := gittest.NewServer(t, repo)
	sha := repo.Commit(map[string]string{"bottom": "1"})
	for depth := 1; depth <= 7; depth++ {
		at, url := other, "../app.git"
		if depth%2 == 0 {
			at, url = repo, "../other.git"
		}
		sha = at.CommitFiles("main", map[string]gittest.File{".gitmodules": gitmodules("in", url), "in": {Body: sha, Submodule: true}})
		s := newSource(t, source.Config{URL: srv.URL + "/" + at.Name()})
		_, err := fetch(t, s, sha)
		if depth <= 5 && err != nil {
			t.Errorf("%d deep: %v", depth, err)
		}
		if depth > 5 && (!isRevision(err) || !strings.Contains(err.Error(), "it is a loop")) {
			t.Errorf("%d deep: %v", depth, err)
		}
	}
}
