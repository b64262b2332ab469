package source_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/deploy/tree"
	"github.com/bootagent/bootagent/internal/gittest"
)

// decent says whether an error can stand on one line of a log or a terminal.
func decent(err error) bool {
	text := err.Error()
	return len(text) <= 2000 && utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func TestAPackThatGitWouldNotWriteIsTakenApartWithoutHarm(t *testing.T) {
	t.Parallel()
	var c craft
	body := c.blob("x")
	sha := c.commit(c.tree(item{"100644", "f", body}))
	good := c.body.Bytes()
	with := func(more func(*craft)) []byte {
		next := craft{count: c.count}
		next.body.Write(good)
		more(&next)
		return next.pack()
	}
	flipped := func(pack []byte, at int, b byte) []byte {
		pack = bytes.Clone(pack)
		pack[at] = b
		return pack
	}
	mustFetch(t, newSource(t, source.Config{URL: offering(t, sha, c.pack())}), sha)
	cases := map[string]struct {
		pack     []byte
		want     string
		revision bool
	}{
		"another signature":          {flipped(c.pack(), 0, 'X'), "damaged", false},
		"another version":            {flipped(c.pack(), 7, 9), "damaged", false},
		"fewer objects than said":    {sealed(c.count+1, good), "the pack", false},
		"more objects than said":     {sealed(c.count-1, good), "damaged", false},
		"no trailer":                 {c.pack()[:packHeader+len(good)], "too early", false},
		"another trailer":            {flipped(c.pack(), packHeader+len(good)+3, 0x55), "damaged", false},
		"nothing":                    {nil, "", false},
		"type 0":                     {with(func(c *craft) { c.header(0, 1); c.deflate([]byte("x")) }), "unknown type", false},
		"type 5":                     {with(func(c *craft) { c.header(5, 1); c.deflate([]byte("x")) }), "unknown type", false},
		"less than it says":          {with(func(c *craft) { c.header(packBlob, 5); c.deflate([]byte("x")) }), "damaged", false},
		"more than it says":          {with(func(c *craft) { c.header(packBlob, 1); c.deflate(make([]byte, 1<<20)) }), "damaged", false},
		"an exabyte":                 {with(func(c *craft) { c.header(packBlob, 1<<59); c.deflate([]byte("x")) }), "bytes in one file", true},
		"an exabyte of a directory":  {with(func(c *craft) { c.header(packTree, 1<<59); c.deflate([]byte("x")) }), "bytes in one commit or directory", true},
		"a size beyond 64 bits":      {with(func(c *craft) { c.header(packBlob, 1<<63); c.deflate([]byte("x")) }), "damaged", false},
		"no zlib":                    {with(func(c *craft) { c.header(packBlob, 4); c.body.WriteString("junk") }), "damaged", false},
		"a delta on nothing":         {with(func(c *craft) { c.refDelta(strings.Repeat("ab", 20), deltaOf(1, 1, 1, 'y')) }), "base is missing", false},
		"a delta on the middle":      {with(func(c *craft) { c.ofsDelta(packHeader+1, deltaOf(1, 1, 1, 'y')) }), "no object", false},
		"a delta on itself":          {with(func(c *craft) { c.ofsDelta(packHeader+c.body.Len(), deltaOf(1, 1, 1, 'y')) }), "damaged", false},
		"a delta on the header":      {with(func(c *craft) { c.ofsDelta(3, deltaOf(1, 1, 1, 'y')) }), "no object", false},
		"a delta of another base":    {with(func(c *craft) { c.refDelta(body, deltaOf(2, 1, 1, 'y')) }), "makes no sense", false},
		"a delta beyond its base":    {with(func(c *craft) { c.refDelta(body, deltaOf(1, 9, 0x91, 0, 9)) }), "makes no sense", false},
		"a delta at 4 GiB":           {with(func(c *craft) { c.refDelta(body, deltaOf(1, 1, 0x9f, 255, 255, 255, 255, 1)) }), "makes no sense", false},
		"a delta that says nothing":  {with(func(c *craft) { c.refDelta(body, nil) }), "makes no sense", false},
		"a delta that gives less":    {with(func(c *craft) { c.refDelta(body, deltaOf(1, 5, 1, 'y')) }), "makes no sense", false},
		"a delta of an exabyte":      {with(func(c *craft) { c.refDelta(body, deltaOf(1, 1<<62, 1, 'y')) }), "bytes in one file", true},
		"a delta beyond 63 bits":     {with(func(c *craft) { c.refDelta(body, deltaOf(1, 1<<63, 1, 'y')) }), "makes no sense", false},
		"a delta with exabytes told": {with(func(c *craft) { c.header(packRefDelta, 1<<59); c.body.Write(make([]byte, 20)); c.deflate([]byte("x")) }), "bytes in all", true},
	}
	for name, tc := range cases {
		_, err := fetch(t, newSource(t, source.Config{URL: offering(t, sha, tc.pack)}), sha)
		if err == nil || isRevision(err) != tc.revision || !strings.Contains(err.Error(), tc.want) || !decent(err) {
			t.Errorf("%s: got %v (of the revision: %t), want %q", name, err, err != nil && isRevision(err), tc.want)
		}
	}
}

func TestAPackMayHoldTheSameAgainAndWhatNobodyAskedFor(t *testing.T) {
	t.Parallel()
	var c craft
	body := c.blob("x")
	sha := c.commit(c.tree(item{"100644", "f", body}, item{"100755", "g", body}))
	for range 3 {
		c.blob("x")
		c.blob("stray")
		c.refDelta(body, deltaOf(1, 2, 2, 'y', 'z'))
	}
	dir := mustFetch(t, newSource(t, source.Config{URL: offering(t, sha, c.pack())}), sha)
	if got := snapshot(t, dir); len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestADeltaChainOfTenThousandIsFollowed(t *testing.T) {
	t.Parallel()
	var c craft
	at := packHeader
	c.blob("0123456789")
	const links = 10_000
	for range links - 1 {
		at = c.ofsDelta(at, deltaOf(10, 10, 0x90, 9, 1, 'x'))
	}
	c.ofsDelta(at, deltaOf(10, 10, 0x90, 9, 1, 'y'))
	sha := c.commit(c.tree(item{"100644", "f", nameOf(packBlob, []byte("012345678y"))}))
	dir := mustFetch(t, newSource(t, source.Config{URL: offering(t, sha, c.pack())}), sha)
	if got := snapshot(t, dir)["f"]; !strings.HasPrefix(got, "-rw-r--r-- 10 ") {
		t.Errorf("got %q", got)
	}
}

func TestWhatStandsInThePlaceOfACommitIsTheRevisionsFault(t *testing.T) {
	t.Parallel()
	var c craft
	body := c.blob("x")
	dir := c.tree(item{"100644", "f", body})
	commit := c.commit(dir)
	tag := func(kind, sha string) string {
		return c.object(packTag, []byte("object "+sha+"\ntype "+kind+"\ntag t\ntagger T <t@example.com> 1 +0000\n\nt\n"))
	}
	deep := tag("commit", commit)
	for range 100 {
		deep = tag("tag", deep)
	}
	cases := map[string]struct{ sha, want string }{
		"a blob":                     {body, "it is a blob, not a commit"},
		"a tree":                     {dir, "it is a tree, not a commit"},
		"a tag":                      {tag("commit", commit), commit},
		"a tag of a hundred tags":    {deep, "it is an annotated tag"},
		"a tag of escapes":           {c.object(packTag, []byte("object \x1b[2J\u202e\u009b31m")), "it is an annotated tag"},
		"a tag of nothing":           {c.object(packTag, nil), "it is an annotated tag"},
		"a tag that never ends":      {c.object(packTag, bytes.Repeat([]byte("a"), 1<<16)), "it is an annotated tag"},
		"a commit of a blob":         {c.commit(body), "is said to be a tree, but is a blob"},
		"a commit of a commit":       {c.commit(commit), "is said to be a tree, but is a commit"},
		"a commit of nothing":        {c.object(packCommit, []byte("author T\n\nx")), "does not begin with its tree"},
		"an empty commit object":     {c.object(packCommit, nil), "does not begin with its tree"},
		"a commit of a short name":   {c.object(packCommit, []byte("tree abc\n")), "does not begin with its tree"},
		"a directory that is a blob": {c.commit(c.tree(item{"40000", "d", body})), "is said to be a tree, but is a blob"},
		"a file that is a tree":      {c.commit(c.tree(item{"100644", "d", dir})), "is said to be a blob, but is a tree"},
		"a link that is a tree":      {c.commit(c.tree(item{"120000", "d", dir})), "is said to be a blob, but is a tree"},
	}
	pack := c.pack()
	for name, tc := range cases {
		_, err := fetch(t, newSource(t, source.Config{URL: offering(t, tc.sha, pack)}), tc.sha)
		if !isRevision(err) || !strings.Contains(err.Error(), tc.want) || !decent(err) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

func TestDirectoriesThatGitWouldNotWriteAreRefused(t *testing.T) {
	t.Parallel()
	body := nameOf(packBlob, []byte("x"))
	inner := nameOf(packTree, treeOf(item{"100644", "y", body}))
	megabytes := strings.Repeat("m", 2<<20)
	cases := map[string]struct {
		raw  []byte
		want string
	}{
		"cut in a name":       {treeOf(item{"100644", "f", body})[:9], "cut off"},
		"cut in a hash":       {treeOf(item{"100644", "f", body})[:20], "cut off"},
		"no mode":             {treeOf(item{"", "f", body}), "unknown mode"},
		"a mode of escapes":   {treeOf(item{"\x1b[2J", "f", body}), "unknown mode"},
		"a mode of megabytes": {treeOf(item{megabytes, "f", body}), "cut off"},
		"a name of megabytes": {treeOf(item{"100644", megabytes, body}), "255"},
		"a NUL in a name":     {treeOf(item{"100644", "a\x00b", body}), ""},
		"no name":             {treeOf(item{"100644", "", body}), "empty"},
		"a dot":               {treeOf(item{"100644", ".", body}), ". or .."},
		"zeros before a mode": {treeOf(item{"040000", "d", inner}), "unknown mode"},
		"a pipe":              {treeOf(item{"10644", "p", body}), "unknown mode"},
		"a socket":            {treeOf(item{"140000", "s", body}), "unknown mode"},
		"a device":            {treeOf(item{"60660", "d", body}), "unknown mode"},
		"a sticky directory":  {treeOf(item{"41777", "d", inner}), "unknown mode"},
		"everybody's file":    {treeOf(item{"100666", "f", body}), "unknown mode"},
		"a link of megabytes": {treeOf(item{"120000", "l", nameOf(packBlob, []byte(megabytes))}), "limit"},
		"what is not there":   {treeOf(item{"100644", "f", strings.Repeat("12", 20)}), "left out the object"},
		"a name on all sides": {treeOf(item{"100644", "f", body}, item{"40000", "f", inner}, item{"120000", "f", body}), "twice"},
		"git, and its caps":   {treeOf(item{"40000", ".gIt", inner}), ".git"},
		"git, with spaces":    {treeOf(item{"40000", ".git ...", inner}), ".git"},
		"git, by a stream":    {treeOf(item{"40000", ".git::$INDEX_ALLOCATION", inner}), ".git"},
		"git, short":          {treeOf(item{"40000", "GIT~1", inner}), ".git"},
		"git, invisible":      {treeOf(item{"40000", ".g\u200di\ufefft", inner}), ".git"},
		"modules, short":      {treeOf(item{"120000", "GITMOD~1", body}), "symbolic link"},
		"modules, invisible":  {treeOf(item{"120000", ".git\u200cmodules", body}), "symbolic link"},
	}
	for name, tc := range cases {
		var c craft
		c.blob("x")
		if name == "a link of megabytes" {
			c.blob(megabytes)
		}
		c.tree(item{"100644", "y", body})
		sha := c.commit(c.object(packTree, tc.raw))
		_, err := fetch(t, newSource(t, source.Config{URL: offering(t, sha, c.pack())}), sha)
		if err == nil || !isRevision(err) && tc.want != "left out the object" || !strings.Contains(err.Error(), tc.want) || !decent(err) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

func TestNamesThatLinuxKnowsApartAreFilesOfTheirOwn(t *testing.T) {
	t.Parallel()
	var c craft
	body := c.blob("x")
	names := []string{"z", "A", "a", "\xff\xfe", "e\u0301", "\u00e9", "aux.c", "CON", "a:b", `a\b`, "git~2", "...", ".gitx", "-rf", "$(reboot)", "\u202egpj.exe"}
	var items []item
	for _, n := range names { // in no order
		items = append(items, item{"100644", n, body})
	}
	sha := c.commit(c.tree(items...))
	if got := snapshot(t, mustFetch(t, newSource(t, source.Config{URL: offering(t, sha, c.pack())}), sha)); len(got) != len(names) {
		t.Errorf("got %v", got)
	}
}

func TestAListOfRefsThatMakesNoSenseIsToldInASentence(t *testing.T) {
	t.Parallel()
	sha := strings.Repeat("ab", 20)
	good := advertised(ordinaryCapabilities, sha+" HEAD", sha+" refs/heads/main")
	gzipped := func() []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(good))
		_ = w.Close()
		return b.Bytes()
	}
	noise := strings.Repeat("\x1b[2J\u202e\u009b31m\xff", 6000)
	for name, list := range map[string]string{
		"a length that is none":        "zzzz",
		"a length of 1":                "0001",
		"a length of 4":                "0004",
		"a length beyond":              "ffff" + good,
		"cut in a length":              good[:len(good)-2],
		"cut in a line":                good[:60],
		"no end":                       strings.TrimSuffix(good, "0000"),
		"gzip that nobody asked for":   string(gzipped()),
		"an error with escapes":        pktLine("ERR " + noise),
		"64 KiB of noise":              pktLine(noise[:60_000]),
		"noise after a name":           pktLine("# service=git-upload-pack\n") + "0000" + pktLine(sha+" refs/heads/main\x00") + pktLine(noise[:60_000]),
		"a name with a space":          advertised(ordinaryCapabilities, sha+" HEAD", sha+" refs/heads/a b"),
		"no capabilities, no NUL":      pktLine("# service=git-upload-pack\n") + "0000" + pktLine(sha+" refs/heads/main\n") + "0000",
		"a capability of noise":        advertised(noise[:50_000], sha+" HEAD"),
		"a hash of noise":              advertised(ordinaryCapabilities, strings.Repeat("z", 40)+" HEAD"),
		"a protocol of another number": pktLine("# service=git-upload-pack\n") + "0000" + pktLine("version 2\n") + "0000",
	} {
		_, err := newSource(t, source.Config{URL: liar(t, []byte(list), nil)}).Resolve(context.Background(), "other")
		if err == nil || isRevision(err) || !decent(err) {
			t.Errorf("%s: got %d bytes: %.300q", name, len(fmt.Sprint(err)), fmt.Sprint(err))
		}
	}
	// A name may look like a capability: whoever may push a branch must not stop every deployment.
	named := advertised(ordinaryCapabilities, sha+" refs/heads/object-format=sha256", sha+" refs/heads/main", sha+" refs/heads/ object-format=sha256")
	named = strings.Replace(named, pktLine(sha+" refs/heads/ object-format=sha256\n"), "", 1)
	if got, err := newSource(t, source.Config{URL: liar(t, []byte(named), nil)}).Resolve(context.Background(), "main"); err != nil || got != sha {
		t.Errorf("a branch of that name: %s, %v", got, err)
	}
}

func TestAnAnswerThatMakesNoSenseIsToldInASentence(t *testing.T) {
	t.Parallel()
	sha := strings.Repeat("ab", 20)
	list := advertised(ordinaryCapabilities, sha+" HEAD", sha+" refs/heads/main")
	noise := strings.Repeat("\x1b[2J\u202e\u009b31m\xff", 6000)
	begin := pktLine("shallow "+sha) + "0000" + pktLine("NAK\n")
	for name, answer := range map[string]string{
		"nothing":             "",
		"a flush":             "0000",
		"no pack":             begin,
		"a flush for a pack":  begin + "0000",
		"a length of 3":       begin + "0003",
		"noise for an answer": "0000" + pktLine(noise[:60_000]),
		"a short shallow":     pktLine("shallow \x1b[2J"),
		"a bad ACK":           "0000" + pktLine("ACK \x1b[2J"+noise[:50_000]),
		"an error":            begin + pktLine("\x03"+noise[:60_000]),
		"another channel":     begin + pktLine("\x09"+noise[:60_000]),
		"an empty channel":    begin + pktLine("\x01") + "0000",
		"a line beyond 64k":   begin + "fff5" + noise[:65_521],
		"an ERR in the pack":  begin + pktLine("ERR "+noise[:60_000]),
		"progress alone":      begin + strings.Repeat(pktLine("\x02counting \x1b[2J"), 1000) + "0000",
	} {
		_, err := fetch(t, newSource(t, source.Config{URL: liar(t, []byte(list), []byte(answer))}), sha)
		if err == nil || isRevision(err) || !decent(err) {
			t.Errorf("%s: got %d bytes: %.300q", name, len(fmt.Sprint(err)), fmt.Sprint(err))
		}
	}
}

func TestHeadersOfMegabytesAndOfEscapesAreNoneOfTheLog(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for name, header := range map[string]http.Header{
		"a type":      {"Content-Type": {long}},
		"a location":  {"Location": {"/" + long}, "Content-Type": {"text/plain"}},
		"bidi":        {"Content-Type": {"text/\u202ehtml"}},
		"cookies":     {"Set-Cookie": {"a=" + long}, "Content-Type": {"text/html"}},
		"gzip claims": {"Content-Encoding": {"gzip"}, "Content-Type": {"application/x-git-upload-pack-advertisement"}},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range header {
				w.Header()[k] = v
			}
			if header.Get("Location") != "" {
				w.WriteHeader(http.StatusFound)
			}
		}))
		t.Cleanup(srv.Close)
		_, err := newSource(t, source.Config{URL: srv.URL + "/app.git"}).Resolve(context.Background(), "main")
		if err == nil || !decent(err) {
			t.Errorf("%s: %d bytes: %.300q", name, len(fmt.Sprint(err)), fmt.Sprint(err))
		}
	}
}

func TestARedirectLeadsNowhereButHome(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-t0ken"
	repo := gittest.NewRepo(t)
	repo.Commit(map[string]string{"a": "1"})
	srv := gittest.NewServer(t, repo)
	tls := gittest.NewServer(t, repo, gittest.WithTLS())
	s := newSource(t, source.Config{URL: srv.CloneURL(), Auth: source.Auth{Secret: secret}})
	known, _ := tls.Client().Transport.(*http.Transport)
	overTLS := newSource(t, source.Config{URL: tls.CloneURL(), Auth: source.Auth{Secret: secret}, Transport: known})
	for name, c := range map[string]struct {
		s    *source.Source
		at   *gittest.Server
		to   string
		want string
	}{
		"the metadata service":   {s, srv, "http://169.254.169.254/latest/meta-data/iam/", "redirects to http://169.254.169.254"},
		"… by IPv6":              {s, srv, "http://[fd00:ec2::254]/latest/", "redirects to http://[fd00:ec2::254]"},
		"a file":                 {s, srv, "file:///etc/passwd", "redirects to file:///etc/passwd"},
		"a script":               {s, srv, "javascript:alert(1)", "redirects to"},
		"another port":           {s, srv, "http://127.0.0.1:1/x/info/refs", "redirects to http://127.0.0.1:1"},
		"another scheme":         {s, srv, "https" + strings.TrimPrefix(srv.URL, "http") + "/x/info/refs", "redirects to https"},
		"down to clear text":     {overTLS, tls, "http" + strings.TrimPrefix(tls.URL, "https") + "/x/info/refs", "redirects to http:"},
		"a user at home":         {s, srv, strings.Replace(srv.URL, "//", "//evil:pw@", 1) + "/x", "no repository"},
		"itself":                 {s, srv, "info/refs", "in circles"},
		"no location":            {s, srv, "", ""},
		"a location of nonsense": {s, srv, "http://[::1", ""},
		"a location of escapes":  {s, srv, "http://evil.example/\u202e%1b[2J", "evil.example"},
	} {
		c.at.Use(func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/x") {
					w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
					return
				}
				if c.to != "" {
					w.Header().Set("Location", c.to)
				}
				w.WriteHeader(http.StatusFound)
			})
		})
		_, err := c.s.Resolve(context.Background(), "main")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "evil:pw") || !decent(err) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAListOfRefsThatDripsIsLeft(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("ab", 20) + " refs/heads/main"
	url := liarWith(t, func(w http.ResponseWriter) {
		list := strings.TrimSuffix(advertised(ordinaryCapabilities, line), "0000")
		for ; ; list = pktLine(line + "\n") {
			for i := range len(list) {
				if _, err := w.Write([]byte(list[i : i+1])); err != nil {
					return
				}
				if http.NewResponseController(w).Flush() != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}, nil)
	s := newSource(t, source.Config{URL: url, Idle: 400 * time.Millisecond})
	if _, err := s.Resolve(context.Background(), "main"); err == nil || !strings.Contains(err.Error(), "hardly sends") {
		t.Errorf("got %v", err)
	}
}

func TestARefNeverIsAnOptionNorAPath(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"--upload-pack=touch x", "-oProxyCommand=x", "refs/heads/../../config", "@{u}", "@{-1}", "HEAD~1", "main^{tree}", ":/fix",
		"main:README", "a\u202eb", "a\u009bb", "a\u2028b", "a\u200bb", "\ufeffmain", "a\x00b", "a\xffb", "main\n", "$(reboot)\n", strings.Repeat("a", 4096)} {
		err := source.CheckRef(ref)
		if !errors.Is(err, source.ErrBadRef) || !decent(err) {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestALimitOfASubmodulesPackIsTheRevisionsFaultToo(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	lib := repo.Neighbour("lib.git")
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("d%d/e/f", i)] = fmt.Sprint(i)
	}
	sub := lib.Commit(files)
	sha := repo.CommitFiles("main", map[string]gittest.File{".gitmodules": gitmodules("lib", "../lib.git"), "lib": {Body: sub, Submodule: true}})
	s := newSource(t, source.Config{URL: gittest.NewServer(t, repo).CloneURL(), Limits: tree.Limits{Files: 60}})
	var limit *tree.LimitError
	if _, err := fetch(t, s, sha); !errors.As(err, &limit) || !isRevision(err) {
		t.Errorf("got %v", err)
	}
}
