// Package process runs units as child processes, on a Linux machine without
// systemd or without the right to use it.
//
// Each unit is a session of its own whose output goes to a file, so nothing
// ties it to the agent: when the agent ends, the unit goes on, and the next
// agent adopts it. What belongs to a unit is found out in /proc, by
//
//   - its main process's pid and start time, which name one process for ever,
//   - the marker that it carries in its environment, as do all that it starts,
//   - the log file that it has as its standard output or error,
//   - the sessions of all these, and their descendants.
//
// So a daemon that forks twice and calls setsid is found. One that also wipes
// its environment and closes its output is not: only a control group holds
// that, and systemd has them. Nor is a user's limit of memory, or a wall
// between a unit and the instance metadata, to be had here.
package process

import (
	"go.uber.org/zap"
)

// Options says where a Runner keeps what, and for whom. All but Logger are required.
type Options struct {
	// Dir is the directory of the records of units, 0700. One Runner at a time uses it. It holds nothing secret.
	Dir string
	// LogDir is the directory of the units' logs, 0700; it may be below Dir.
	LogDir string
	// BootID names this boot of the machine. Units of another boot are forgotten, and what is left of them is killed.
	BootID string
	// Logger may be nil.
	Logger *zap.Logger
}
