// Package recipe reads bootagent.yaml: how to build, run and check a revision.
package recipe

import (
	"time"
)

// FileName is the recipe's name in the app's repository (below source.subdirectory).
const FileName = "bootagent.yaml"

// Recipe is a recipe with every default filled in.
type Recipe struct {
	Build     Build
	Processes []Process // "web" first, then by name
	Health    Health
	// Environment is plain text; a value of the same name from Parameter Store wins.
	Environment map[string]string
}

// Build says how a revision is built. No Run means nothing is to be built.
type Build struct {
	Run         Command
	Timeout     time.Duration
	Environment map[string]string
}

// Process is one process of the app.
type Process struct {
	Name        string
	Run         Command
	Port        bool // it is told a port in PORT and must listen there
	Overlap     bool // old and new may run at the same time; always so for a process with a port
	StopTimeout time.Duration
}

// Health is how a process with a port is checked.
type Health struct {
	Path      string // GET it; "" means TCP: whether a connection is accepted
	Host      string // the Host header; "" means the address
	Statuses  StatusRange
	Interval  time.Duration
	Timeout   time.Duration // of one probe
	Successes int           // passes in a row
	Deadline  time.Duration // from the start of the process
}

// StatusRange is the statuses that count as healthy, both ends included.
type StatusRange struct{ Min, Max int }

// Command is what to execute: an argv. A command that was written as a string is ["sh", "-c", string].
type Command []string
