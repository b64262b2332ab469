package imds

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// versions are the dates that stand for latest in a path, the oldest first.
// 2009-04-04 is what cloud-init asks for first.
var versions = []string{"1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
	"2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19", "2016-06-30",
	"2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15",
	"2022-09-24", "2024-04-11", "latest"}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived, start := s.opts.Clock(), time.Now()
	status, body := s.answer(w.Header(), r)
	if s.opts.Observe != nil {
		s.opts.Observe(Request{Method: r.Method, Path: r.URL.Path, Status: status, Time: arrived, Duration: time.Since(start)})
	}
	h := w.Header()
	h.Set("Server", "EC2ws")
	h.Set("Content-Type", "text/plain")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // a client that is gone has nobody to be told about it
	}
}

// answer works out the status and the body, and sets headers that belong to them.
func (s *Server) answer(h http.Header, r *http.Request) (int, string) {
	if status := s.faultFor(r.URL.Path); status != 0 {
		return problem(status)
	}
	if r.URL.Path == tokenPath {
		return s.token(h, r)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		return problem(http.StatusMethodNotAllowed)
	}
	// Without a token this is IMDSv1, which is off: the same 401.
	left, ok := s.valid(r.Header.Get(tokenHeader))
	if !ok {
		return problem(http.StatusUnauthorized)
	}
	h.Set(ttlHeader, strconv.Itoa(int(math.Ceil(left.Seconds()))))
	if body, ok := s.read(r.URL.Path); ok {
		return http.StatusOK, body
	}
	return problem(http.StatusNotFound)
}

func (s *Server) faultFor(path string) int {
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault == nil {
		return 0
	}
	return fault(path)
}

func (s *Server) token(h http.Header, r *http.Request) (int, string) {
	if r.Method != http.MethodPut {
		h.Set("Allow", "PUT")
		return problem(http.StatusMethodNotAllowed)
	}
	// A request that came through a proxy gets no token.
	if r.Header.Get("X-Forwarded-For") != "" {
		return problem(http.StatusForbidden)
	}
	ttl := r.Header.Get(ttlHeader)
	token, ok := s.issue(ttl)
	if !ok {
		return problem(http.StatusBadRequest)
	}
	h.Set(ttlHeader, ttl)
	return http.StatusOK, token
}

// read finds the document or the directory at a path below any version.
func (s *Server) read(path string) (string, bool) {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return strings.Join(versions, "\n"), true
	}
	version, path, _ := strings.Cut(path, "/")
	if !slices.Contains(versions, version) {
		return "", false
	}
	tree := s.tree()
	if document, ok := tree[path]; ok {
		return document, true
	}
	return list(tree, path)
}

// list is a directory: its entries a line each, directories with a slash at
// their end, but for tags/instance, security-credentials and the like, whose
// entries are documents anyway.
func list(tree map[string]string, path string) (string, bool) {
	prefix := strings.TrimSuffix(path, "/")
	if prefix != "" {
		prefix += "/"
	}
	var entries []string
	for document := range tree {
		rest, ok := strings.CutPrefix(document, prefix)
		if !ok {
			continue
		}
		// At the top the real one gives dynamic, meta-data, user-data without slashes.
		if name, _, deeper := strings.Cut(rest, "/"); deeper && prefix != "" {
			rest = name + "/"
		} else {
			rest = name
		}
		entries = append(entries, rest)
	}
	slices.Sort(entries)
	return strings.Join(slices.Compact(entries), "\n"), len(entries) > 0
}

// problem is the body that the real one sends with a status.
func problem(status int) (int, string) {
	text := http.StatusText(status)
	return status, fmt.Sprintf(`<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head><title>%d - %s</title></head>
 <body><h1>%d - %s</h1></body>
</html>
`, status, text, status, text)
}
