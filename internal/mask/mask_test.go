package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

const (
	token = `hunter2/"+hunter2`
	pem   = "-----BEGIN KEY-----\nMIIBOgIBAAJBAKj34GkxFhD90vcNLYLI\nnFEX6Ppy1tPf9Cnzj4p4WGeK\n-----END KEY-----\n"
)

func mask() *Mask { return New(map[string]string{token: "TOKEN", pem: "KEY", "true": "DEBUG"}) }

func TestASecretIsMaskedInEveryFormThatItIsShownIn(t *testing.T) {
	t.Parallel()
	encoded, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"itself", "a " + token + " b true", "a [TOKEN] b true"},
		{"twice, side by side", token + token, "[TOKEN][TOKEN]"},
		{"quoted by Go", fmt.Sprintf("answered %q", token), `answered "[TOKEN]"`},
		{"in JSON", string(encoded), `{"token":"[TOKEN]"}`},
		{"in a query", "?t=" + url.QueryEscape(token) + "&x", "?t=[TOKEN]&x"},
		{"in a path", "/" + url.PathEscape(token), "/[TOKEN]"},
		{"several lines", "key: " + pem, "key: [KEY]"},
		{"one line of several", "  | nFEX6Ppy1tPf9Cnzj4p4WGeK\n", "  | [KEY]\n"},
		{"cut", "answered hunter2/…", "answered [TOKEN]…"},
		{"cut early", "a hunt…, then", "a [TOKEN]…, then"},
		{"too little to be anything", "a hun… b", "a hun… b"},
		{"cut elsewhere", "hunter3… and more…", "hunter3… and more…"},
		{"a part of it", "hunter2", "hunter2"},
		{"none", "plain", "plain"},
	} {
		if got := mask().Text(c.text); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.name, c.text, got, c.want)
		}
	}
	for _, user := range []string{"", "a", "ab", "abc", "x-token:"} {
		for _, coding := range []*base64.Encoding{base64.StdEncoding, base64.RawURLEncoding} {
			text := coding.EncodeToString([]byte(user + token + "\n"))
			if got := mask().Text("_auth=" + text); !strings.Contains(got, "[TOKEN]") || len(got) > len("_auth=[TOKEN]")+2*len(user)+6 {
				t.Errorf("behind %q: %s became %s", user, text, got)
			}
		}
	}
	if got := (&Mask{}).Text("a… b"); got != "a… b" {
		t.Errorf("a mask of nothing made %q", got)
	}
}

func TestTheLongerOfTwoSecretsThatBeginAlikeIsMasked(t *testing.T) {
	t.Parallel()
	m := New(map[string]string{"secret-one": "SHORT", "secret-one-and-more": "LONG"})
	if got := m.Text("secret-one secret-one-and-more secret-one-and"); got != "[SHORT] [LONG] [SHORT]-and" {
		t.Error(got)
	}
}

func TestASecretInPiecesIsMaskedAsInOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := New(map[string]string{"abcabcabd": "A", "abcabcabdabcabcabe": "B", "bcabcab": "C"})
		text := rapid.StringOfN(rapid.RuneFrom([]rune("abcde")), 0, 60, -1).Draw(t, "text")
		if rapid.Bool().Draw(t, "with a secret") {
			text += "abcabcabdabcabcabe" + text
		}
		var out bytes.Buffer
		w := m.Writer(&out)
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			if written, err := w.Write([]byte(rest[:n])); err != nil || written != n {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := m.Text(text); out.String() != want || strings.Contains(out.String(), "abcabcabd") {
			t.Fatalf("%q became %q, want %q", text, out.String(), want)
		}
	})
}

func TestAStreamIsHeldBackNoLongerThanNeeded(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := mask().Writer(&out)
	for _, c := range []struct{ write, have string }{
		{"line\n", "line\n"}, {"hunt", "line\n"}, {"ing", "line\nhunting"}, {token[:9], "line\nhunting"}, {token[9:], "line\nhunting[TOKEN]"},
	} {
		if _, err := w.Write([]byte(c.write)); err != nil || out.String() != c.have {
			t.Errorf("after %q: %q, %v", c.write, out.String(), err)
		}
	}
	full := mask().Writer(failing{})
	if _, err := full.Write([]byte("x")); err == nil {
		t.Error("an error was swallowed")
	}
	if err := full.Close(); err == nil {
		t.Error("an error was forgotten")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestASecretIsFoundWhereverItLiesInAFile(t *testing.T) {
	t.Parallel()
	m := New(map[string]string{token: "TOKEN", pem: "KEY"})
	f := m.Finder()
	for _, before := range []int{0, 1, chunk - 8, chunk, 2*chunk - 1, 3 * chunk} {
		for text, want := range map[string]string{
			token: "TOKEN", pem: "KEY", "hunter2": "", "": "",
			base64.StdEncoding.EncodeToString([]byte("u:" + token)): "TOKEN",
			"-----BEGIN KEY-----\nanother\n":                        "",
		} {
			content := strings.Repeat("x", before) + "\n" + text + "\ny"
			if got, err := f.Find(iotest.HalfReader(strings.NewReader(content))); err != nil || got != want {
				t.Errorf("%q behind %d bytes: got %q, %v", text, before, got, err)
			}
		}
	}
	if _, err := f.Find(iotest.ErrReader(errors.New("bad disk"))); err == nil {
		t.Error("an error was swallowed")
	}
}
