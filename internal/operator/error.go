package operator

import (
	"errors"
	"fmt"

	"github.com/bootagent/bootagent/internal/model"
)

// Kind says how a command ended that did not do what was asked; an exit code stands for each.
type Kind string

// The kinds.
const (
	Failed     Kind = "failed"      // exit 1
	Wrong      Kind = "wrong"       // usage or configuration: exit 2
	RolledBack Kind = "rolled back" // the fleet went back to stable by itself: exit 3
	Held       Kind = "held"        // locked, frozen, or another rollout is under way: exit 4
)

// Error is why, in one sentence.
type Error struct {
	Kind Kind
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

func refuse(kind Kind, format string, args ...any) error {
	return &Error{kind, fmt.Errorf(format, args...)}
}

// settle gives an error its kind, where it has none: what only a person can mend is Wrong.
func settle(err error) error {
	var known *Error
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, model.ErrConfiguration):
		return &Error{Wrong, err}
	}
	return &Error{Failed, err}
}

func isConfiguration(err error) bool { return errors.Is(err, model.ErrConfiguration) }

// isNone says that nobody has asked for a release yet.
func isNone(err error) bool { return errors.Is(err, model.ErrNoRelease) }
