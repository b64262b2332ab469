package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// overHTTP is a conn's requests: they share connections, and a base URL that redirects may have moved.
type overHTTP struct {
	conn   *conn
	client *http.Client
	base   *url.URL
}

func newOverHTTP(c *conn) *overHTTP {
	h := &overHTTP{conn: c, base: c.remote.url}
	transport, idle := c.remote.config.Transport, c.remote.config.Idle
	if transport == nil {
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	} else {
		transport = transport.Clone()
	}
	transport.DialContext = (&net.Dialer{Timeout: idle, KeepAlive: 15 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = idle
	transport.ResponseHeaderTimeout = idle
	transport.DisableCompression = true // packs are compressed
	h.client = &http.Client{Transport: transport, CheckRedirect: h.checkRedirect}
	return h
}

func (h *overHTTP) close() { h.client.CloseIdleConnections() }

// list asks for the refs; a redirect moves what follows, too.
func (h *overHTTP) list() (io.ReadCloser, error) {
	u := h.base.JoinPath(infoRefs)
	u.RawQuery = "service=" + uploadPack
	resp, err := h.do(http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/x-git-upload-pack-advertisement" {
		return nil, errors.Join(fmt.Errorf("%w here: the server answers with %q, not as a git server: "+
			"is %s the URL that `git clone` takes?", ErrNoRepository, ct, h.conn.remote.text), resp.Body.Close())
	}
	path, ok := strings.CutSuffix(resp.Request.URL.Path, infoRefs)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the server redirects to %s, which is no repository", resp.Request.URL.Redacted()),
			resp.Body.Close())
	}
	moved := *resp.Request.URL
	moved.Path, moved.RawPath, moved.RawQuery = path, strings.TrimSuffix(moved.RawPath, infoRefs), ""
	h.base = &moved
	return resp.Body, nil
}

func (h *overHTTP) ask(request []byte) (io.ReadCloser, error) {
	resp, err := h.do(http.MethodPost, h.base.JoinPath(uploadPack), request)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// checkRedirect follows a redirect of the first request (the only GET) on the same host, or from http to https there,
// as git does (http.followRedirects=initial). Anywhere else the credentials must not go, nor do we without them.
func (h *overHTTP) checkRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	where := (&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String()
	switch {
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("the server redirects the transfer to %s, which git does not follow either", where)
	case len(via) >= 10:
		return errors.New("the server redirects in circles")
	case !sameOrigin(from, to):
		return fmt.Errorf("the server redirects to %s: credentials don't follow to another host; "+
			"if the repository has moved, change source.url", where)
	}
	return nil
}

func sameOrigin(from, to *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), to.Hostname()) {
		return false
	}
	if from.Scheme == to.Scheme {
		return port(from) == port(to)
	}
	return from.Scheme == "http" && to.Scheme == "https" && port(from) == "80" && port(to) == "443"
}

func port(u *url.URL) string {
	if u.Port() != "" {
		return u.Port()
	}
	return defaultPort(u.Scheme)
}

// do sends one request and judges the status.
func (h *overHTTP) do(method string, u *url.URL, body []byte) (*http.Response, error) {
	c := h.conn
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/"+capability.DefaultAgent()) // some hosts answer browsers with a page
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if auth := c.remote.auth; auth.Secret != "" {
		req.SetBasicAuth(auth.User, string(auth.Secret))
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var wrapped *url.Error // the URL is told already
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout() && c.ctx.Err() == nil:
			return nil, fmt.Errorf("the server did not answer within %s: %w", c.remote.config.Idle, err)
		case errors.As(err, &network):
			return nil, fmt.Errorf("the server can't be reached: %w", err)
		}
		return nil, truncated(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, h.status(resp)
	}
	resp.Body = c.watch(resp.Body)
	return resp, nil
}

// status says in words what an HTTP status means for the repository, and what to do.
func (h *overHTTP) status(resp *http.Response) error {
	said := ""
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		text, _ := io.ReadAll(io.LimitReader(h.conn.watch(resp.Body), 1<<10)) // what can't be read is not quoted
		if said = printable(string(text)); said != "" {
			said = fmt.Sprintf(" (it says: %s)", said)
		}
	}
	auth, foreign := h.conn.remote.auth, h.conn.remote.foreign
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		if foreign {
			return fmt.Errorf("%w: the server wants credentials (401), and those of source.auth go to source.url's host and scheme alone: "+
				"give the submodule a relative URL in .gitmodules (../name.git), or make its repository public%s", ErrDenied, said)
		}
		if auth.Secret == "" {
			return fmt.Errorf("%w: the server wants credentials (401): set source.auth.parameter, or check that the URL is right%s",
				ErrDenied, said)
		}
		return fmt.Errorf("%w: the server does not take the credentials of %q (401): the token may be wrong, or have expired%s",
			ErrDenied, auth.User, said)
	case http.StatusForbidden:
		return fmt.Errorf("%w: the credentials may not read this repository (403): give them read access%s", ErrDenied, said)
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w (%d), or one that these credentials may not see: %s%s",
			ErrNoRepository, resp.StatusCode, h.conn.remote.hint(), said)
	}
	return fmt.Errorf("the server answers %s: try again later%s", resp.Status, said)
}

// printable is the first line of what a server says, in bounds.
func printable(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = visible(line)
	return line[:min(len(line), 200)]
}
