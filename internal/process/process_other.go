//go:build !linux

package process

import (
	"errors"

	"github.com/bootagent/bootagent/internal/unit"
)

// Runner is Linux's alone: what belongs to a unit is found out in /proc.
type Runner struct{ unit.Runner }

// New fails: units as child processes need Linux.
func New(Options) (*Runner, error) {
	return nil, errors.New("units as child processes need Linux; run the agent in a Linux container or virtual machine")
}

// Close does nothing.
func (r *Runner) Close() error { return nil }
