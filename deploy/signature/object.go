package signature

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Object is a commit or a tag, taken apart: the bytes that were signed, and the signature over them.
type Object struct {
	Payload   []byte
	Signature string
	// Date is the committer's or tagger's own word on when; zero where none is given.
	Date time.Time
	// Target, Kind and Name are what a tag points to, of which kind that is, and how the tag calls itself; a commit has none.
	Target, Kind, Name string
}

// The headers that hold a commit's signature, and that of the same commit under the other hash (git's commit.c).
const (
	headerSHA1   = "gpgsig"
	headerSHA256 = "gpgsig-sha256"
)

// Commit takes a commit object apart as git does (parse_signed_commit in its commit.c). In a repository of SHA-256 names
// the signature stands in another header.
func Commit(raw []byte, sha256 bool) (Object, error) {
	own := headerSHA1
	if sha256 {
		own = headerSHA256
	}
	headers, body, err := split(raw)
	if err != nil {
		return Object{}, err
	}
	if len(headers) == 0 || headers[0].key != "tree" {
		return Object{}, errors.New("it does not begin with its tree")
	}
	var o Object
	for _, h := range headers {
		switch {
		case h.key == own && o.Signature != "":
			return Object{}, errors.New("it carries two signatures: sign it once")
		case h.key == own:
			o.Signature = h.value()
			if o.Signature == "" {
				return Object{}, errors.New("its signature is empty")
			}
			continue
		case h.key == headerSHA1 || h.key == headerSHA256:
			continue // the other hash's: git leaves it out as well
		case h.key == "committer":
			if !o.Date.IsZero() {
				return Object{}, errors.New("it has two committers")
			}
			if o.Date, err = date(h.value()); err != nil {
				return Object{}, err
			}
		}
		o.Payload = append(o.Payload, h.raw...)
	}
	o.Payload = append(o.Payload, body...)
	return o, nil
}

// Tag takes a tag object apart as git does (parse_signature in its gpg-interface.c): the signature is the message's end.
func Tag(raw []byte) (Object, error) {
	headers, body, err := split(raw)
	if err != nil {
		return Object{}, err
	}
	var o Object
	for i, want := range []string{"object", "type", "tag"} {
		if i >= len(headers) || headers[i].key != want {
			return Object{}, fmt.Errorf("the tag does not begin as one: want %s", want)
		}
	}
	o.Target, o.Kind, o.Name = headers[0].value(), headers[1].value(), headers[2].value()
	for i, h := range headers {
		switch {
		case i > 2 && (h.key == "object" || h.key == "type" || h.key == "tag"):
			return Object{}, fmt.Errorf("the tag has %s twice", h.key)
		case h.key == headerSHA1 || h.key == headerSHA256:
			continue // the other hash's
		case h.key == "tagger":
			if !o.Date.IsZero() {
				return Object{}, errors.New("the tag has two taggers")
			}
			if o.Date, err = date(h.value()); err != nil {
				return Object{}, err
			}
		}
		o.Payload = append(o.Payload, h.raw...)
	}
	message, at := body, 0
	for line := range bytes.Lines(body) {
		if isBegin(line) {
			if o.Signature != "" {
				return Object{}, errors.New("the tag carries two signatures: sign it once")
			}
			message, o.Signature = body[:at], string(body[at:])
		}
		at += len(line)
	}
	o.Payload = append(o.Payload, message...)
	return o, nil
}

func isBegin(line []byte) bool {
	for _, begin := range []string{pgpBegin, sshBegin, "-----BEGIN PGP MESSAGE-----", "-----BEGIN SIGNED MESSAGE-----"} {
		if bytes.HasPrefix(line, []byte(begin)) {
			return true
		}
	}
	return false
}

// header is one header with the lines that go on with it.
type header struct {
	key string
	raw []byte
}

// value is the header without its key and without the space before each line that goes on; the last line's end is kept
// only where there are several.
func (h header) value() string {
	text := strings.TrimPrefix(string(h.raw), h.key)
	text = strings.TrimPrefix(text, " ")
	if !strings.Contains(text, "\n ") {
		return strings.TrimSuffix(text, "\n")
	}
	return strings.ReplaceAll(text, "\n ", "\n")
}

// split reads the headers, and gives the rest with the empty line before it.
func split(raw []byte) (headers []header, body []byte, err error) {
	for at := 0; at < len(raw); {
		if raw[at] == '\n' {
			return headers, raw[at:], nil
		}
		length := bytes.IndexByte(raw[at:], '\n') + 1
		if length == 0 {
			return nil, nil, errors.New("its headers are cut off")
		}
		line := raw[at : at+length]
		switch {
		case bytes.IndexByte(line, 0) >= 0:
			return nil, nil, errors.New("its headers contain NUL, where git would stop reading")
		case line[0] == ' ' && len(headers) == 0:
			return nil, nil, errors.New("it begins with a line that goes on with none")
		case line[0] == ' ': // it goes on with the line before
			last := &headers[len(headers)-1]
			last.raw = raw[at-len(last.raw) : at+length]
		default:
			key, _, _ := bytes.Cut(line[:length-1], []byte(" "))
			if bytes.HasPrefix(key, []byte(headerSHA1)) && string(key) != headerSHA1 && string(key) != headerSHA256 {
				return nil, nil, fmt.Errorf("it has the unknown header %s, which git would leave out of what was signed", quoted(string(key)))
			}
			headers = append(headers, header{string(key), line})
		}
		at += length
	}
	return headers, nil, nil
}

// date reads the end of "Name <address> 1700000000 +0100".
func date(person string) (time.Time, error) {
	_, after, ok := strings.Cut(person[strings.LastIndexByte(person, '>')+1:], " ")
	seconds, _, _ := strings.Cut(after, " ")
	n, err := strconv.ParseInt(seconds, 10, 62)
	if !ok || err != nil || n <= 0 {
		return time.Time{}, errors.New("its date can't be read")
	}
	return time.Unix(n, 0), nil
}
