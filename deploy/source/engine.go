package source

import (
	"errors"
	"fmt"
	"os/exec"

	"go.uber.org/zap"
)

// Engine is who reads repositories.
type Engine string

// The engines. The machine's git does what our own reader can't: Git LFS (where git-lfs is installed), encodings, $Id$,
// repositories with SHA-256 names, and servers that hand out no single commits of a history that is too big for us.
const (
	EngineAuto  Engine = "auto"   // our own reader, and git for what that can't do, where git is installed
	EngineGoGit Engine = "go-git" // our own reader alone, with go-git's codecs
	EngineGit   Engine = "git"    // git alone
)

func (e Engine) check() error {
	switch e {
	case "", EngineAuto, EngineGoGit:
		return nil
	case EngineGit:
		if _, err := exec.LookPath("git"); err != nil {
			return errors.New("source.engine is git, and git is not installed: install it, or leave source.engine out")
		}
		return nil
	}
	return fmt.Errorf("source.engine must be auto, go-git or git, not %s", quoted(string(e)))
}

// git is the program's path; "" where it is not installed, or must not be used.
func (s *Source) git() string {
	if s.config.Engine == EngineGoGit {
		return ""
	}
	path, err := exec.LookPath("git")
	if err != nil {
		return ""
	}
	return path
}

// beyondError is a failure for what our own reader can't do and git can.
type beyondError struct{ err error }

func beyond(err error) error { return &beyondError{err} }

func (e *beyondError) Error() string { return e.err.Error() }
func (e *beyondError) Unwrap() error { return e.err }

// withGit does something with the engine that the configuration names.
func withGit[T any](s *Source, what string, ours func() (T, error), theirs func(program string) (T, error)) (T, error) {
	if s.config.Engine == EngineGit {
		return theirs(s.git())
	}
	done, err := ours()
	var not *beyondError
	if !errors.As(err, &not) {
		return done, err
	}
	program := s.git()
	switch {
	case program != "":
		s.config.Log.Info("the machine's git has to do it", zap.String("operation", what), zap.String("reason", s.scrub(not.Error())))
		return theirs(program)
	case s.config.Engine == EngineGoGit:
		return done, fmt.Errorf("%w (source.engine is go-git; with auto an installed git would do it)", err)
	}
	return done, fmt.Errorf("%w (where git is installed, it does it)", err)
}
