package deploy

// User is a user of this machine, without privileges.
type User struct {
	Name     string
	UID, GID int
}

// Users are who runs builds and who runs the app: two users. A build writes its own release while it runs, and nothing
// afterwards; the app reads it.
type Users struct{ Build, App User }
