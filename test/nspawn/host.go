package nspawn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// hostInterface holds HostAddress; no slot has the number 0.
const hostInterface = "ba0"

// HostAddress is an address of the host's that every machine reaches, and nobody else: it is known before a machine is booted, so
// that user-data can name it. It is there from HostUp until the last who called that is done.
func HostAddress() netip.Addr { return netip.AddrFrom4([4]byte{10, 213, 0, 1}) }

// HostUp brings HostAddress up; down takes it away, unless another test on this host still uses it.
func HostUp(ctx context.Context) (down func() error, err error) {
	if err := os.MkdirAll(slotsDir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of machines: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(slotsDir, hostInterface+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the host's address: %w", err)
	}
	// All who use it share the lock, and who gets it for himself alone is the last.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_SH); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the host's address: %w", err), lock.Close())
	}
	down = func() error {
		var err error
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = run(context.WithoutCancel(ctx), "ip", "link", "delete", hostInterface)
		}
		return errors.Join(err, lock.Close())
	}
	// Several may do this at a time, and a test that was killed has left it there.
	if _, err := os.Stat("/sys/class/net/" + hostInterface); err != nil {
		// Not every kernel has dummies. One of a pair will do: an address that is the host's own needs no link.
		_ = run(ctx, "ip", "link", "add", hostInterface, "type", "veth", "peer", "name", hostInterface+"p") // if it failed, the next command does
	}
	for _, command := range [][]string{
		{"address", "replace", HostAddress().String() + "/32", "dev", hostInterface},
		{"link", "set", hostInterface, "up"},
	} {
		if err := run(ctx, append([]string{"ip"}, command...)...); err != nil {
			return nil, errors.Join(fmt.Errorf("bring up the host's address: %w", err), down())
		}
	}
	return down, nil
}
