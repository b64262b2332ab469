package session

import (
	"github.com/bootagent/bootagent/internal/model"
)

// Kind says what would help against an Error.
type Kind string

// The kinds of errors.
const (
	// Configuration is for a person: a permission, a name, a region. It is model.ErrConfiguration.
	Configuration Kind = "configuration"
	// Credentials are missing, expired or not (yet) known. A role's heal by themselves, mostly.
	Credentials Kind = "credentials"
	// Throttled means that AWS asked us to slow down, and all attempts met the same.
	Throttled Kind = "throttled"
	// Reach means that no proper answer came: no network, nobody there, or a failure inside AWS.
	Reach Kind = "reach"
	// Refused is every other no of AWS.
	Refused Kind = "refused"
)

// Error is why a call failed, in one sentence: what, to what, why, and what to
// do. It holds no credentials, while what it wraps might: print Error, not the chain.
type Error struct {
	Kind     Kind
	Sentence string
	// Err is what the SDK returned, for errors.As.
	Err error
	// cause is what else is in the chain: the last attempt's error, where a deadline hid it.
	cause error
}

func (e *Error) Error() string { return e.Sentence }

// Is makes every error of kind Configuration a model.ErrConfiguration.
func (e *Error) Is(target error) bool {
	return target == model.ErrConfiguration && e.Kind == Configuration
}

// Unwrap gives the SDK's error, and the last attempt's.
func (e *Error) Unwrap() []error {
	var chain []error
	for _, err := range []error{e.Err, e.cause} {
		if err != nil {
			chain = append(chain, err)
		}
	}
	return chain
}
