package tree_test

import (
	"os"
	"syscall"
	"testing"
)

// TestMain runs everything under a mean umask: modes must not depend on it.
func TestMain(m *testing.M) {
	syscall.Umask(0o077)
	os.Exit(m.Run())
}
