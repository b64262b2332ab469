package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bootagent/bootagent/deploy/artifact"
)

func TestOneDirectoryIsPackedAloneAndInItsPlace(t *testing.T) {
	t.Parallel()
	dir, to := built(t), filepath.Join(t.TempDir(), "app")
	// Inside of the tree, if not of the directory.
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "lib-2"), 0o755), os.Symlink("../../server", filepath.Join(dir, "venv", "bin", "own"))); err != nil {
		t.Fatal(err)
	}
	p := artifact.Packing{Dir: dir, Only: "venv/bin"}
	var out bytes.Buffer
	packed, err := artifact.Pack(t.Context(), p, &out)
	if err != nil {
		t.Fatal(err)
	}
	m := artifact.Manifest{Schema: artifact.Schema, Key: "key", Archive: packed.Archive, Content: packed.Content}
	if err := artifact.Unpack(t.Context(), io.NopCloser(&out), m, to, artifact.Limits{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"venv", "venv/bin", "venv/bin/own", "venv/bin/python3"}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(inventory(t, to)))); d != "" {
		t.Error(d)
	}
}

func TestASurveySaysWhatPackingWould(t *testing.T) {
	t.Parallel()
	dir := built(t)
	p := artifact.Packing{Dir: dir, Only: "lib", Foreign: map[string]string{"met": "lib/deep/secret", "not there": "this is server"}}
	found, err := artifact.Survey(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := artifact.Pack(t.Context(), p, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]bool{"met": true}, found.Met); d != "" {
		t.Error(d)
	}
	if packed.Content.Bytes, packed.Content.SHA256 = 0, ""; found.Content != packed.Content {
		t.Errorf("it counts %+v, and packing %+v", found.Content, packed.Content)
	}
	if err := os.Symlink("../../..", filepath.Join(dir, "lib", "out")); err != nil {
		t.Fatal(err)
	}
	var unfit *artifact.UnfitError
	if _, err := artifact.Survey(t.Context(), p); !errors.As(err, &unfit) {
		t.Errorf("of a link out of the tree it says %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := artifact.Survey(ctx, p); err == nil {
		t.Error("it does not end with its context")
	}
}

func TestNoReleasesKeyIsADependencyDirectorys(t *testing.T) {
	t.Parallel()
	in := artifact.Inputs{artifact.InputDirectory: "deps"}
	if key := artifact.Dependencies(in).Key(); !artifact.IsDependencies(key) {
		t.Error(key)
	}
	if key := in.Key(revision); artifact.IsDependencies(key) {
		t.Error(key)
	}
}
