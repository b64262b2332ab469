package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// conn is the requests of one operation: they share connections, a base URL that redirects may have moved, and an end.
type conn struct {
	source *Source
	ctx    context.Context
	cancel context.CancelCauseFunc
	client *http.Client
	base   *url.URL

	mu     sync.Mutex
	broken error // the first error of a body: decoders on the way up may turn it into one of their own
}

// broke notes why a body ended.
func (c *conn) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken == nil {
		c.broken = err
	}
}

func (s *Source) connect(ctx context.Context) *conn {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &conn{source: s, ctx: ctx, cancel: cancel, base: s.url}
	transport := s.config.Transport
	if transport == nil {
		transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	} else {
		transport = transport.Clone()
	}
	transport.DialContext = (&net.Dialer{Timeout: s.config.Idle, KeepAlive: 15 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = s.config.Idle
	transport.ResponseHeaderTimeout = s.config.Idle
	transport.DisableCompression = true // packs are compressed
	c.client = &http.Client{Transport: transport, CheckRedirect: c.checkRedirect}
	return c
}

// close ends whatever is still open; nothing outlives an operation.
func (c *conn) close() {
	c.cancel(nil)
	c.client.CloseIdleConnections()
}

// checkRedirect follows a redirect of the first request (the only GET) on the same host, or from http to https there,
// as git does (http.followRedirects=initial). Anywhere else the credentials must not go, nor do we without them.
func (c *conn) checkRedirect(req *http.Request, via []*http.Request) error {
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
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// do sends one request and judges the status.
func (c *conn) do(method string, u *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(c.ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/"+capability.DefaultAgent()) // some hosts answer browsers with a page
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if auth := c.source.config.Auth; auth.Secret != "" {
		req.SetBasicAuth(auth.User, string(auth.Secret))
	}
	resp, err := c.client.Do(req)
	if err != nil {
		var wrapped *url.Error // the URL is told already
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		var network net.Error
		switch {
		case errors.As(err, &network) && network.Timeout() && c.ctx.Err() == nil:
			return nil, fmt.Errorf("the server did not answer within %s: %w", c.source.config.Idle, err)
		case errors.As(err, &network):
			return nil, fmt.Errorf("the server can't be reached: %w", err)
		}
		return nil, truncated(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, c.status(resp)
	}
	resp.Body = c.watch(resp.Body)
	return resp, nil
}

// status says in words what an HTTP status means for the repository, and what to do.
func (c *conn) status(resp *http.Response) error {
	said := ""
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		text, _ := io.ReadAll(io.LimitReader(c.watch(resp.Body), 1<<10)) // what can't be read is not quoted
		if said = printable(string(text)); said != "" {
			said = fmt.Sprintf(" (it says: %s)", said)
		}
	}
	auth := c.source.config.Auth
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		if auth.Secret == "" {
			return fmt.Errorf("%w: the server wants credentials (401): set source.auth.parameter, or check that the URL is right%s",
				ErrDenied, said)
		}
		return fmt.Errorf("%w: the server does not take the credentials of %q (401): the token may be wrong, or have expired%s",
			ErrDenied, auth.User, said)
	case http.StatusForbidden:
		return fmt.Errorf("%w: the credentials may not read this repository (403): give them read access%s", ErrDenied, said)
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("%w (%d), or one that these credentials may not see: check source.url and source.auth%s",
			ErrNoRepository, resp.StatusCode, said)
	}
	return fmt.Errorf("the server answers %s: try again later%s", resp.Status, said)
}

// printable is the first line of what a server says, in bounds.
func printable(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = visible(line)
	return line[:min(len(line), 200)]
}
