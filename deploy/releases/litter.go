package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// litter is a name beside path for what is on its way to it or away from it, new since the store was opened, which swept: see
// clean.
func (s *Store) litter(path, why string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s-%s-%d", filepath.Base(path), why, s.named.Add(1)))
}

// isLitter says whether a name is one that litter, or disk.Put, made for that name; "" stands for all.
func isLitter(name, of string) bool {
	if of != "" {
		of += "-"
	}
	return strings.HasPrefix(name, "."+of)
}

// clean makes what a process that was killed has left last, for a rename that was not flushed is to be seen all the same and
// would be relied on; then it removes litter. What can't be removed is an error, for it would fill the disk unseen.
func (s *Store) clean() error {
	for _, dir := range []string{s.state, s.releases()} {
		if err := s.disk.SyncDir(dir); err != nil {
			return fmt.Errorf("flush what is on the disk: %w", err)
		}
	}
	// Swept first of all: from here on litter's names are free.
	errs := []error{s.sweep(s.state, currentName), s.sweep(s.releases(), ""), s.sweep(s.trees(), "")}
	entries, err := os.ReadDir(s.trees())
	if err != nil {
		return fmt.Errorf("look for litter: %w", err)
	}
	for _, e := range entries {
		number, err := strconv.ParseInt(e.Name(), 10, 64)
		switch {
		case err != nil || !numberForm.MatchString(e.Name()): // sweep's, or a person's
		case !s.Has(number):
			if err := s.removeTree(number); err != nil {
				errs = append(errs, fmt.Errorf("remove the rest of release %d, which was not completed: %w", number, err))
			}
		case e.IsDir(): // else List says what is wrong with it
			errs = append(errs, s.settle(s.tree(number)))
		}
	}
	return errors.Join(errs...)
}

// settle does for a release's tree, where Promote writes, what clean does for the rest. A tree that the agent's user can't
// open is no obstacle: List calls it damaged.
func (s *Store) settle(tree string) error {
	err := s.disk.SyncDir(tree)
	if err == nil {
		err = s.sweep(tree, promotedName)
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("flush what is on the disk: %w", err)
	}
	return nil
}

// sweep removes the litter of one name in a directory, "" for all.
func (s *Store) sweep(dir, of string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for litter: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if isLitter(e.Name(), of) {
			if err := s.disk.RemoveAll(dir, e.Name()); err != nil {
				errs = append(errs, fmt.Errorf("remove the rest of a killed attempt: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}
