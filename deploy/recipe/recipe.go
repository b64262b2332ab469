// Package recipe reads bootagent.yaml and Procfile: how to build, run and
// check a revision. docs/recipe.md is what it promises to users.
package recipe

import (
	"time"

	"github.com/bootagent/bootagent/internal/strictyaml"
)

// The names of the files in the app's repository (below source.subdirectory).
const (
	FileName     = "bootagent.yaml"
	ProcfileName = "Procfile"
)

// Version is the recipe format that this package reads.
const Version = 1

// What a recipe that doesn't say gets. The reasons stand in docs/recipe.md.
const (
	DefaultBuildTimeout = 15 * time.Minute
	DefaultTaskTimeout  = 10 * time.Minute
	DefaultStopTimeout  = 30 * time.Second
	DefaultInterval     = time.Second
	DefaultTimeout      = 5 * time.Second
	DefaultSuccesses    = 1
	DefaultDeadline     = 2 * time.Minute
	DefaultMinStatus    = 200
	DefaultMaxStatus    = 299
)

// Recipe is a recipe with every default filled in.
type Recipe struct {
	Build     Build     `json:"build"`
	Processes []Process `json:"processes"` // "web" first, then by name
	Health    Health    `json:"health"`
	// Task is run once a rollout, before the first instance switches; nil for none.
	Task *Task `json:"release_task,omitempty"`
	// Environment is plain text; a value of the same name from Parameter Store wins.
	Environment map[string]string `json:"environment,omitempty"`
	// Shared are directories below the app's that outlive the release: clean, local paths, none inside of another.
	Shared []string `json:"shared,omitempty"`
}

// Serving gives the process with the port, the one that takes traffic. There is one at most.
func (r Recipe) Serving() (Process, bool) {
	for _, p := range r.Processes {
		if p.Port {
			return p, true
		}
	}
	return Process{}, false
}

// Build says how a revision is built. No Run means nothing is to be built.
type Build struct {
	Run         Command           `json:"run,omitempty"`
	Timeout     time.Duration     `json:"timeout"`
	Environment map[string]string `json:"environment,omitempty"`
	// Secrets are the names of the variables in Parameter Store that the build sees. It sees no other.
	Secrets []string `json:"secrets,omitempty"`
	// Cache are directories below the app's that the build finds as an earlier one left them: clean, local paths, none inside of another or
	// of a shared one.
	Cache []string `json:"cache,omitempty"`
}

// Task is what a release needs done once for the whole fleet: to migrate a database, say.
type Task struct {
	Run     Command       `json:"run"`
	Timeout time.Duration `json:"timeout"`
	// Reversible says that the release before works as well after it: a failure may then be rolled back by itself.
	Reversible bool `json:"reversible,omitempty"`
}

// Process is one process of the app.
type Process struct {
	Name        string        `json:"name"`
	Run         Command       `json:"run"`
	Port        bool          `json:"port,omitempty"`    // it is told a port in PORT and must listen there
	Overlap     bool          `json:"overlap,omitempty"` // old and new may run at the same time; always so for a process with a port
	StopTimeout time.Duration `json:"stop_timeout"`
}

// Health is how the process with the port is checked: by Command, else by HTTP, else by TCP.
type Health struct {
	Command   Command       `json:"command,omitempty"` // exit code 0 is healthy
	Path      string        `json:"path,omitempty"`    // GET it; "" means TCP: whether a connection is accepted
	Host      string        `json:"host,omitempty"`    // the Host header; "" means the address
	Statuses  StatusRange   `json:"statuses"`
	Interval  time.Duration `json:"interval"`
	Timeout   time.Duration `json:"timeout"`   // of one probe
	Successes int           `json:"successes"` // passes in a row
	Deadline  time.Duration `json:"deadline"`  // from the start of the process
}

// StatusRange is the statuses that count as healthy, both ends included.
type StatusRange struct {
	Min int `json:"min"`
	Max int `json:"max"`
}

// Command is what to execute: an argv. A command that was written as a string is ["sh", "-c", string].
type Command []string

// Shell is the command of a string.
func Shell(line string) Command { return Command{"sh", "-c", line} }

// defaults is what an empty recipe means.
func defaults() Recipe {
	return Recipe{
		Build: Build{Timeout: DefaultBuildTimeout},
		Health: Health{
			Statuses:  StatusRange{DefaultMinStatus, DefaultMaxStatus},
			Interval:  DefaultInterval,
			Timeout:   DefaultTimeout,
			Successes: DefaultSuccesses,
			Deadline:  DefaultDeadline,
		},
	}
}

// Parse reads a bootagent.yaml; file is the name that errors carry. The result may have no processes: Load takes them
// from the Procfile then. Its errors are *strictyaml.Error or strictyaml.Errors.
func Parse(file string, data []byte) (Recipe, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return Recipe{}, err
	}
	m := doc.Root().Map()
	version := Version
	v := m.Require("version", "write \"version: 1\"")
	if v.Int(&version, 1, 1<<30) && version > Version {
		v.Fail("version %d is not supported by this version of bootagent, which knows version %d; upgrade it", version, Version)
		return Recipe{}, doc.Err() // keys of another version would only be noise
	}
	r := decode(m)
	if err := doc.Err(); err != nil {
		return Recipe{}, err
	}
	return r, nil
}

// Inline reads a recipe inside another file (the configuration's key recipe), without a version of its own. Problems
// are recorded in that file's document.
func Inline(v strictyaml.Value) Recipe { return decode(v.Map()) }
