package source

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// location is where a repository is: an https://, http:// or ssh:// URL, or git's short form for SSH, user@host:path.
type location struct {
	text   string // as it was given, for people, without a slash at its end
	head   string // the part of text before the path
	scheme string // https, http or ssh
	user   string // SSH: "" is not given
	host   string // in lower case, without brackets
	port   string
	url    *url.URL // HTTP: with exactly one slash at its end
	path   string   // SSH: what the server is asked for: "/srv/app.git", "team/app.git", "~me/app.git"
}

const wantURL = "want https://host/path/of/repository.git or ssh://git@host/path/of/repository.git"

// parseLocation understands what `git clone` takes, less what reaches into this machine: paths, file://, remote
// helpers (ext::). Its errors do not repeat the text, which may hold a password.
func parseLocation(raw string) (location, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return location{}, errors.New("it contains control characters: " + wantURL)
	}
	if !strings.Contains(raw, "://") {
		return parseShort(raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return location{}, errors.New("it is no URL: " + wantURL) // url's own error repeats the input
	}
	scheme := strings.TrimSuffix(strings.TrimPrefix(u.Scheme, "git+"), "+git") // git's old names for ssh
	l := location{text: strings.TrimRight(raw, "/"), scheme: scheme, port: u.Port()}
	_, hasPassword := u.User.Password()
	switch {
	case scheme != "https" && scheme != "http" && scheme != "ssh" || scheme != "ssh" && scheme != u.Scheme:
		return l, errors.New("the scheme must be https, http or ssh: " + wantURL)
	case hasPassword || scheme != "ssh" && u.User != nil:
		return l, errors.New("the URL carries credentials, which would show in logs: name the parameter that holds them in source.auth")
	case u.Hostname() == "" || strings.Trim(u.Path, "/") == "":
		return l, errors.New("host or path is missing: " + wantURL)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return l, errors.New("a repository's URL has neither a query nor a fragment: " + wantURL)
	}
	l.head = l.text[:strings.Index(l.text, "://")+3]
	l.head += l.text[len(l.head) : len(l.head)+strings.Index(l.text[len(l.head):], "/")+1]
	if scheme == "ssh" {
		l.user, l.path = u.User.Username(), strings.TrimRight(u.Path, "/")
		if strings.HasPrefix(l.path, "/~") {
			l.path = l.path[1:] // as git does (connect.c): a user's home
		}
	} else {
		l.url = u.JoinPath("/")
	}
	if l.port == "" {
		l.port = defaultPort(scheme)
	}
	return l, l.check(u.Hostname())
}

// parseShort understands [user@]host:path, where a colon stands before the first slash.
func parseShort(raw string) (location, error) {
	l := location{text: strings.TrimRight(raw, "/"), scheme: "ssh", port: defaultPort("ssh")}
	rest := raw
	if user, after, ok := strings.Cut(raw, "@"); ok && !strings.ContainsAny(user, ":/") {
		l.user, rest = user, after
		if user == "" {
			return l, errors.New("a user is missing before the @: " + wantURL)
		}
	}
	var host string
	var ok bool
	if strings.HasPrefix(rest, "[") { // an IPv6 address
		host, l.path, ok = strings.Cut(rest[1:], "]:")
	} else {
		host, l.path, ok = strings.Cut(rest, ":")
	}
	switch {
	case !ok || strings.Contains(host, "/"):
		return l, errors.New("it is no URL; the scheme must be https, http or ssh: " + wantURL)
	case strings.HasPrefix(l.path, ":"):
		return l, errors.New("git's remote helpers (name::address) run programs and are not supported: " + wantURL)
	}
	l.head = raw[:len(raw)-len(l.path)]
	if strings.HasPrefix(l.path, "/") {
		l.head += "/"
	}
	l.path = strings.TrimRight(l.path, "/")
	return l, l.check(host)
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// check looks at what is sent to another program there, or is a name here.
func (l *location) check(host string) error {
	address, err := netip.ParseAddr(host)
	if !hostname.MatchString(host) && (err != nil || address.Zone() != "") {
		return errors.New("its host is neither a name nor an address: " + wantURL)
	}
	l.host = strings.ToLower(host)
	if n, err := strconv.ParseUint(l.port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s is no port: %s", quoted(l.port), wantURL)
	}
	if !l.isSSH() {
		return nil
	}
	bad := func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }
	switch {
	case l.path == "":
		return errors.New("host or path is missing: " + wantURL)
	case strings.HasPrefix(l.path, "-"):
		return errors.New("its path begins with a dash, which the server would take for an option: " + wantURL) // as git
	case strings.ContainsFunc(l.path, bad):
		return errors.New("its path contains control characters: " + wantURL)
	case strings.ContainsFunc(l.user, bad) || strings.HasPrefix(l.user, "-"):
		return errors.New("its user is no name: " + wantURL)
	}
	return nil
}

func (l location) isSSH() bool { return l.scheme == "ssh" }

// address is what to dial.
func (l location) address() string { return net.JoinHostPort(l.host, l.port) }

// sameOrigin says whether what opens the one may be shown to the other.
func (l location) sameOrigin(other location) bool {
	return l.scheme == other.scheme && l.host == other.host && l.port == other.port && l.user == other.user
}

// relative resolves a submodule's URL that begins with ./ or ../ as git does (submodule--helper's resolve_relative_url),
// but never above the host.
func (l location) relative(to string) (string, error) {
	parts := strings.Split(strings.Trim(l.text[len(l.head):], "/"), "/")
	for {
		if rest, ok := strings.CutPrefix(to, "./"); ok {
			to = rest
			continue
		}
		rest, ok := strings.CutPrefix(to, "../")
		if !ok {
			break
		}
		if to = rest; len(parts) == 0 {
			return "", errors.New("it leads above the host's root")
		}
		parts = parts[:len(parts)-1]
	}
	to = strings.TrimRight(to, "/")
	if to != "" {
		parts = append(parts, strings.Split(to, "/")...)
	}
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return "", fmt.Errorf("it has %q in its middle", p)
		}
	}
	return l.head + strings.Join(parts, "/"), nil
}

func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "ssh":
		return "22"
	}
	return "80"
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
