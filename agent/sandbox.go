package agent

import "github.com/bootagent/bootagent/internal/unit"

// Sandbox says how the app's processes are kept in on this machine. The zero value keeps nothing in: the agent's own
// user, for a laptop.
type Sandbox struct {
	// User runs them; "" is the agent's own.
	User string
	// Home is the app's own directory, absolute: its HOME, below the state directory.
	Home string
	// Shared is the agent's own directory that holds the shared ones, absolute: see deploy.Prepared. The whole is named to
	// systemd, for the app could put a link in the place of a directory in it.
	Shared string
	// Walled makes the file system read-only for them, but for Home and what the recipe shares.
	Walled bool
	// Metadata lets them reach the instance metadata, and with it the instance's credentials.
	Metadata bool
	// Credentials says that they get AWS credentials: the instance's, or those of a role of their own.
	Credentials bool
	// Environment is what their environment has besides, which the recipe may overrule: where an SDK finds its credentials.
	Environment map[string]string
}

// keep puts a unit of the app into the sandbox.
func (s Sandbox) keep(u unit.Spec, shares bool) unit.Spec {
	u.User, u.Metadata = s.User, s.Metadata
	if s.Walled {
		u.Writable = []string{s.Home}
	}
	if s.Walled && shares {
		u.Writable = append(u.Writable, s.Shared)
	}
	return u
}
