package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region"
)

// Not parallel: the environment says where the region is.
func TestWhatIsUnpackedIsWhatWasPacked(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	r := makeTiny(t)
	if _, err := git(t.Context(), "", "clone", "--quiet", r.path, tree); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(tree, ".git")); err != nil {
		t.Fatal(err)
	}
	want, err := listTree(t.Context(), r.path, r.sha)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := listDir(tree); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%d files are listed, %v", len(got), err)
	}
	region, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := region.S3.MakeBucket(bucket); err != nil {
		t.Fatal(err)
	}
	for _, variable := range append(region.Environment(), "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	dir := filepath.Join(t.TempDir(), "fetched")
	if err := unpackHere(t.Context(), []string{dir}); err == nil {
		t.Error("what was not packed was unpacked")
	}
	if err := packHere(t.Context(), []string{tree, t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if err := unpackHere(t.Context(), []string{dir}); err != nil {
		t.Fatal(err)
	}
	if err := sameTree(dir, want); err != nil {
		t.Error(err)
	}
}

func TestTheTableSaysWhatCouldNotBeMeasuredAndWhatMissedItsAim(t *testing.T) {
	t.Parallel()
	all := []fetcher{{name: "ours"}, {name: "floor"}, {name: "cli", lacks: "it is not installed"}}
	took := func(d time.Duration) []usage { return []usage{{d, d, 50e6}} }
	s := &section{}
	tabulate(s, all, [][]usage{took(14 * time.Second), took(10 * time.Second), nil}, 1e6)
	want := [][]string{
		{"ours", "14.00 s", "14.00 s", "50.0 MB", "1.40×", "at most 1.3×: **missed**"},
		{"floor", "10.00 s", "10.00 s", "50.0 MB", "1.00×", ""},
		{"cli", "not measured: it is not installed", "", "", "", ""},
	}
	if !reflect.DeepEqual(s.table.rows, want) {
		t.Errorf("the rows are %q", s.table.rows)
	}
	all[1].lacks = "zstd is not installed"
	s = &section{}
	tabulate(s, all, [][]usage{took(13 * time.Second), nil, nil}, 1e6)
	if got := s.table.rows[0][4]; got != "–" {
		t.Errorf("without a floor the ratio is %q", got)
	}
}
