package systemd

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/internal/sockets"
	"github.com/bootagent/bootagent/internal/unit"
)

// Sockets is in unit.Runner. A port that another process listens on too, at another address, is not Owned: whoever
// connects may get the other.
func (r *Runner) Sockets(ctx context.Context, name string) (unit.Sockets, error) {
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return unit.Sockets{}, err
	}
	defer done()
	s, err := r.find(ctx, name)
	if err != nil {
		return unit.Sockets{}, err
	}
	// The listeners are read first: a socket that closes in between belongs to nobody, one that opens is seen next time.
	listeners, err := sockets.Listeners()
	if err != nil {
		return unit.Sockets{}, err
	}
	pids, err := r.processes(ctx, s.unit)
	if err != nil {
		return unit.Sockets{}, err
	}
	held := make(map[uint64]bool)
	for _, pid := range pids {
		inodes, err := sockets.OfProcess(pid)
		if err != nil {
			r.log.Debug("the sockets of a process can't be read", zap.String("unit", name), zap.Int("pid", pid), zap.Error(err))
		}
		for _, inode := range inodes {
			held[inode] = true
		}
	}
	return assign(s.marks.port, listeners, held), nil
}

// assign says which of the listeners are the unit's.
func assign(port int, listeners []sockets.Listener, held map[uint64]bool) unit.Sockets {
	var found unit.Sockets
	foreign := false
	for _, l := range listeners {
		switch mine := held[l.Inode]; {
		case l.Port == port && mine:
			found.Owned = true
		case l.Port == port:
			foreign = true
		case mine:
			found.Others = append(found.Others, l.Port)
		}
	}
	found.Owned = found.Owned && !foreign
	slices.Sort(found.Others)
	found.Others = slices.Compact(found.Others)
	return found
}

// Yield is in unit.Runner. systemd itself could not lower a score that it has raised, but for a unit that it starts anew.
func (r *Runner) Yield(ctx context.Context, name string, yields bool) error {
	ctx, done, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	s, err := r.find(ctx, name)
	if err != nil {
		return err
	}
	pids, err := r.processes(ctx, s.unit)
	if err != nil {
		return err
	}
	return unit.YieldMemory(pids, 0, yields)
}
