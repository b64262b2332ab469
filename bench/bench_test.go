package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tiny is a repository with everything that the large ones have.
func tiny() shape { return shape{"tiny", 220, 5, 100_000, 20_000, 3} }

func makeTiny(t *testing.T) *repository {
	t.Helper()
	r, err := makeRepository(t.Context(), tiny(), filepath.Join(t.TempDir(), "tiny.git"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAShapeMakesTheSameRepositoryEachTime(t *testing.T) {
	t.Parallel()
	one, other := makeTiny(t), makeTiny(t)
	if one.sha != other.sha {
		t.Errorf("the tips are %s and %s", one.sha, other.sha)
	}
	// Texts, binaries and a link; within a tenth of the bytes that were asked for.
	if one.files != 226 || one.bytes < 108_000 || one.bytes > 132_000 {
		t.Errorf("it has %d files with %d bytes", one.files, one.bytes)
	}
	history, err := git(t.Context(), one.path, "log", "--oneline", "main")
	if err != nil || strings.Count(history, "\n") != 2 {
		t.Errorf("the history is %q, %v", history, err)
	}
}

func TestATreeThatDiffersFromTheCommitIsSeen(t *testing.T) {
	t.Parallel()
	r := makeTiny(t)
	want, err := listTree(t.Context(), r.path, r.sha)
	if err != nil {
		t.Fatal(err)
	}
	var text, program, link string
	for name, e := range want {
		switch e.mode {
		case "100644":
			text = name
		case "100755":
			program = name
		case "120000":
			link = name
		}
	}
	must := func(t *testing.T, errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name, want string
		spoil      func(t *testing.T, dir string)
	}{
		{"as it is", "", func(*testing.T, string) {}},
		{"a byte more", text, func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, text), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("x")
			must(t, err, f.Close())
		}},
		{"a program that is none", program + " is mode 100644", func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, program), 0o644))
		}},
		{"a link elsewhere", link, func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, link)), os.Symlink("elsewhere", filepath.Join(dir, link)))
		}},
		{"a file in place of a link", link + " is mode 100644", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, link)), os.WriteFile(filepath.Join(dir, link), nil, 0o644))
		}},
		{"a file less", "225 of them are there", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, text))) }},
		{"a file more", "more is in the directory and not in the original", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "more"), nil, 0o644))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			_, err := git(t.Context(), "", "clone", "--quiet", r.path, dir)
			must(t, err, os.RemoveAll(filepath.Join(dir, ".git")))
			c.spoil(t, dir)
			switch err := sameTree(dir, want); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestTheMedianIsTheOneInTheMiddle(t *testing.T) {
	t.Parallel()
	for want, of := range map[int64][]int64{0: nil, 7: {7}, 3: {9, 3, 1}, 5: {9, 1, 3, 7}} {
		if got := median(of); got != want {
			t.Errorf("the median of %v is %d, want %d", of, got, want)
		}
	}
	got := summary([]usage{{3 * time.Second, time.Second, 10}, {time.Second, 3 * time.Second, 30}, {2 * time.Second, 2 * time.Second, 20}})
	if got != (usage{2 * time.Second, 2 * time.Second, 30}) {
		t.Errorf("the summary is %+v", got)
	}
}

func TestTheReportSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	whole := &section{title: "Boot", table: table{head: []string{"", "whole"}, rows: [][]string{{"ours", "1.00 s"}}}}
	whole.notMeasured("there is no cache")
	whole.note("twice %d", 2)
	text := report{machine: []fact{{"date", "today"}}, turns: 1, busy: busy("1.70 1 1 2/3 4", 2), sections: []*section{whole}}.markdown()
	for _, want := range []string{
		"**No result: 1 turn only", "**The machine was busy with other things: a load of 1.7 on 2 cores.", "- date: today\n", "each measured 1 time,", "## Boot\n\n|  | whole |\n|---|---|\n| ours | 1.00 s |\n",
		"\n**Not measured**: there is no cache.\n\n- twice 2\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	if text := (report{turns: enough, busy: busy("0.90 1 1 2/3 4", 2)}).markdown(); strings.Contains(text, "**") {
		t.Errorf("five turns on a quiet machine are enough:\n%s", text)
	}
}

func TestOnlyPartsThatThereAreCanBeChosen(t *testing.T) {
	t.Parallel()
	if got, err := choose("idle,checkout"); err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := choose(""); err != nil || len(got) != len(parts()) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := choose("checkout,bot"); err == nil || !strings.Contains(err.Error(), `"bot"`) {
		t.Errorf("got %v", err)
	}
}
