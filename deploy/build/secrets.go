package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/mask"
)

// MinSecret is the least length of a secret that a build may see, in bytes: a shorter one would be found in any large file.
const MinSecret = 8

// LeakError is a build that left a secret in what it made.
type LeakError struct {
	Secret string // the variable's name
	Path   string // in the tree; where the secret is in the path itself, masked
}

func (e *LeakError) Error() string {
	return fmt.Sprintf("the build left the secret %s in %s: a release can be read and copied where a secret must not be; write it below $HOME or $TMPDIR, "+
		"which go with the build, or remove the file at its end. Once it was in a file, better change the secret too", e.Secret, e.Path)
}

func invert(values map[string]string) map[string]string {
	names := make(map[string]string, len(values))
	for name, value := range values {
		names[value] = name
	}
	return names
}

// search looks for the secrets in every file of the tree, their names and the links among them. It may take as long as the
// build did: a file may be longer than any disk.
func (j Job) search(ctx context.Context, secrets *mask.Mask) error {
	if len(j.Secrets) == 0 {
		return nil
	}
	tree := j.Tree
	if tree == "" {
		tree = j.Dir
	}
	ctx, cancel := context.WithTimeoutCause(ctx, j.Build.Timeout, &searchError{j.Build.Timeout})
	defer cancel()
	root, err := os.OpenRoot(tree)
	if err != nil {
		return fmt.Errorf("look for secrets in what the build made: %w", err)
	}
	defer func() { _ = root.Close() }()
	finder := secrets.Finder()
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := find(ctx, root, path, d, finder)
		if err == nil && name != "" {
			return &LeakError{Secret: name, Path: secrets.Text(path)}
		}
		return err
	})
	var leak *LeakError
	switch {
	case err == nil, errors.As(err, &leak):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("look for secrets in what the build made: %w", err)
}

// find gives the name of a secret in one file, "" for none.
func find(ctx context.Context, root *os.Root, path string, d fs.DirEntry, finder *mask.Finder) (string, error) {
	text := path
	if d.Type()&fs.ModeSymlink != 0 {
		to, err := root.Readlink(path)
		if err != nil {
			return "", err
		}
		text += "\n" + to
	}
	if name, err := finder.Find(strings.NewReader(text)); name != "" || err != nil || !d.Type().IsRegular() {
		return name, err
	}
	f, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	return finder.Find(reader{ctx, f})
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// searchError is the cause of a search's context that ran out.
type searchError struct{ after time.Duration }

func (e *searchError) Error() string {
	return fmt.Sprintf("looking for the build's secrets in what it made took longer than build.timeout, %s", e.after)
}
