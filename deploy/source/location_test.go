package source

import (
	"strings"
	"testing"
)

func TestALocationIsWhatGitTakesItFor(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]location{
		"https://Example.com/a/b.git/":      {scheme: "https", host: "example.com", port: "443"},
		"http://example.com:8080/a":         {scheme: "http", host: "example.com", port: "8080"},
		"ssh://git@example.com/a/b.git":     {scheme: "ssh", user: "git", host: "example.com", port: "22", path: "/a/b.git"},
		"ssh://example.com:2222/a%20b.git/": {scheme: "ssh", host: "example.com", port: "2222", path: "/a b.git"},
		"git+ssh://me@example.com/~me/x":    {scheme: "ssh", user: "me", host: "example.com", port: "22", path: "~me/x"},
		"ssh://git@[::1]:2222/a":            {scheme: "ssh", user: "git", host: "::1", port: "2222", path: "/a"},
		"git@example.com:team/app.git":      {scheme: "ssh", user: "git", host: "example.com", port: "22", path: "team/app.git"},
		"example.com:/srv/app.git/":         {scheme: "ssh", host: "example.com", port: "22", path: "/srv/app.git"},
		"git@[::1]:app.git":                 {scheme: "ssh", user: "git", host: "::1", port: "22", path: "app.git"},
		"git@example.com:~me/a@b:c":         {scheme: "ssh", user: "git", host: "example.com", port: "22", path: "~me/a@b:c"},
	} {
		got, err := parseLocation(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got.isSSH() == (got.url != nil) || got.text != strings.TrimRight(raw, "/") {
			t.Errorf("%s: %+v", raw, got)
		}
		got.text, got.head, got.url = "", "", nil
		if got != want {
			t.Errorf("%s: %+v, want %+v", raw, got, want)
		}
	}
}

// hostile are URLs that must not be followed, whoever writes them.
var hostile = []string{
	"", "/etc", "./x", "../x", "x", "file:///etc", "ext::sh -c touch% /tmp/pwned", "fd::17", "ext::ssh://a/b", "git://example.com/a", "ftp://example.com/a",
	"-oProxyCommand=touch:pwned", "ssh://-oProxyCommand=touch/a", "--upload-pack=touch", "git@-x:a", "-x@example.com:a", "ssh://-x@example.com/a",
	"git@example.com:-x", "git@example.com:", "git@example.com", "@example.com:a", "git@exa mple.com:a", "git@example.com%0a:a", "git@a;b:c", "git@[::1:a", "[::1]/a:b",
	"ssh://git:pw@example.com/a", "https://me@example.com/a", "https://me:pw@example.com/a", "ssh://git@example.com", "ssh://git@example.com/", "ssh://example.com/a?x",
	"ssh://example.com/a#x", "https://example.com/a?", "ssh://example.com/a%00b", "ssh://example.com/a%0ab", "https://example.com/a\nb", "git@example.com:a\rb",
	"ssh://example.com:0/a", "ssh://example.com:65536/a", "ssh://example.com:x/a", "git+https://example.com/a", "https://[fe80::1%25eth0]/a", "https:///a", "https://ex_ample..-/a",
}

func TestWhatReachesElsewhereIsNoLocation(t *testing.T) {
	t.Parallel()
	for _, raw := range hostile {
		if l, err := parseLocation(raw); err == nil {
			t.Errorf("%q is taken for %+v", raw, l)
		} else if strings.Contains(err.Error(), "pw@") || strings.Contains(err.Error(), ":pw") {
			t.Errorf("%q: the password shows: %v", raw, err)
		}
	}
}

func TestRelativeURLsStayOnTheirHost(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]string{
		{"https://h/team/app.git", "../lib.git", "https://h/team/lib.git"},
		{"https://h/team/app.git/", "../../other/lib.git", "https://h/other/lib.git"},
		{"https://h:8/team/app.git", "./sub", "https://h:8/team/app.git/sub"},
		{"https://h/team/app.git", "./", "https://h/team/app.git"},
		{"https://h/app.git", ".././lib/", "https://h/lib"},
		{"ssh://git@h:2/srv/app.git", "../lib.git", "ssh://git@h:2/srv/lib.git"},
		{"git@h:team/app.git", "../lib.git", "git@h:team/lib.git"},
		{"git@h:team/app.git", "../../lib.git", "git@h:lib.git"},
		{"git@h:/srv/app.git", "../../x/lib.git", "git@h:/x/lib.git"},
		{"https://h/team/app.git", "../../../lib.git", ""},
		{"git@h:app.git", "../../lib.git", ""},
		{"https://h/team/app.git", "../a/../../b", ""},
		{"https://h/team/app.git", "..//etc", ""},
	} {
		l, err := parseLocation(c[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.relative(c[1])
		if got != c[2] || (err == nil) != (c[2] != "") {
			t.Errorf("%s at %s is %q (%v), want %q", c[1], c[0], got, err, c[2])
		}
	}
}
