package balancer

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// dropHopByHop removes the headers that mean the connection they came on, not
// the message, and those that Connection names.
// https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
func dropHopByHop(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.Del(name)
			}
		}
	}
	for _, name := range []string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	} {
		h.Del(name)
	}
}

// hasToken says whether a comma-separated header contains a token.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for field := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(field), token) {
				return true
			}
		}
	}
	return false
}

// upgrade is the protocol that a request, or a 101, wants to switch to, "" for
// none. HTTP/2 is left out: it would hide requests from the balancer.
func upgrade(h http.Header) string {
	if !hasToken(h, "Connection", "Upgrade") {
		return ""
	}
	protocol := h.Get("Upgrade")
	if strings.EqualFold(protocol, "h2c") {
		return ""
	}
	return protocol
}

// requestHead is the head of the request as the target gets it.
//
// The X-Forwarded headers are an ALB's: the client's address is appended to
// X-Forwarded-For, the two others are the listener's own and replace what came.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/x-forwarded-headers.html
func requestHead(r *http.Request) []byte {
	h := r.Header.Clone()
	protocol := upgrade(h)
	trailers := hasToken(h, "Te", "trailers")
	emptyBody := r.ContentLength == 0 && len(h["Content-Length"]) > 0
	dropHopByHop(h)
	if trailers {
		h.Set("Te", "trailers")
	}
	if protocol != "" {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", protocol)
	}
	h.Del("Content-Length")
	switch {
	case r.ContentLength > 0, emptyBody:
		h.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	case r.ContentLength < 0:
		h.Set("Transfer-Encoding", "chunked")
		if len(r.Trailer) > 0 {
			names := make([]string, 0, len(r.Trailer))
			for name := range r.Trailer {
				names = append(names, name)
			}
			slices.Sort(names)
			h.Set("Trailer", strings.Join(names, ", "))
		}
	}
	if !expectsContinue(r) {
		h.Del("Expect")
	}
	if client, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Set("X-Forwarded-For", strings.Join(append(h.Values("X-Forwarded-For"), client), ", "))
	}
	h.Set("X-Forwarded-Proto", "http")
	host := r.Host
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if _, port, err := net.SplitHostPort(local.String()); err == nil {
			h.Set("X-Forwarded-Port", port)
		}
		if host == "" { // HTTP/1.0
			host = local.String()
		}
	}
	if h.Get("X-Amzn-Trace-Id") == "" {
		h.Set("X-Amzn-Trace-Id", traceID(time.Now()))
	}
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") && uri != "*" { // absolute-form is for proxies
		uri = r.URL.RequestURI()
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, uri, host)
	_ = h.Write(&head) // a bytes.Buffer does not fail
	head.WriteString("\r\n")
	return head.Bytes()
}

// expectsContinue says whether the client waits for a 100 before it sends its body.
func expectsContinue(r *http.Request) bool {
	return r.ContentLength != 0 && hasToken(r.Header, "Expect", "100-continue")
}

// traceID is a new trace identifier: a version, the time, and 96 random bits.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-request-tracing.html
func traceID(now time.Time) string {
	var random [12]byte
	_, _ = rand.Read(random[:]) // never fails, it crashes the program instead
	return fmt.Sprintf("Root=1-%08x-%s", now.Unix(), hex.EncodeToString(random[:]))
}

// copyHead copies a response's headers to the client's.
func copyHead(to http.Header, resp *http.Response) {
	dropHopByHop(resp.Header)
	for name, values := range resp.Header {
		to[name] = values
	}
	// What the target did not say, the server must not add.
	for _, name := range []string{"Content-Type", "Date"} {
		if _, ok := resp.Header[name]; !ok {
			to[name] = nil
		}
	}
}
