// Package localstore keeps the records of a fleet of one in a file of the
// instance: rollout.Store where there is no table.
//
// The file is one JSON document, replaced whole: after kill -9 or a loss of
// power it holds all of an Apply or nothing. Several processes may use it, the agent and a command: a lock beside
// it lets one at a time read and write.
package localstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/state"
	"github.com/bootagent/bootagent/rollout"
)

// schema is the newest form of the file that this version reads.
const schema = 1

// lockWait bounds the wait for another process, which holds the lock for
// milliseconds; lockPoll is how often it is looked for.
const (
	lockWait = 10 * time.Second
	lockPoll = 5 * time.Millisecond
)

// Store is the records in one file.
type Store struct {
	path     string
	file     *state.File[document]
	now      func() time.Time
	turn     chan struct{} // holds one token: this process's own callers wait here, in their order
	patience time.Duration // with another process
}

var _ rollout.Store = (*Store)(nil)

// document is the file.
type document struct {
	Schema  int             `json:"schema"`
	Records map[string]item `json:"records"`
}

type item struct {
	Attributes map[string]string `json:"attributes"`
	Expires    int64             `json:"expires,omitempty"` // seconds since 1970, 0 for never
}

// At names the file, whose directory must exist; now says what has expired.
func At(path string, now func() time.Time) *Store {
	s := &Store{path: path, file: state.At[document](path), now: now, turn: make(chan struct{}, 1), patience: lockWait}
	s.turn <- struct{}{}
	return s
}

// Get reads one record.
func (s *Store) Get(ctx context.Context, key string) (rollout.Record, error) {
	if err := rollout.CheckKey(key); err != nil {
		return rollout.Record{}, err
	}
	r := rollout.Record{Key: key}
	err := s.locked(ctx, func() error {
		doc, err := s.load()
		r = doc.record(key)
		return err
	})
	return r, err
}

// List reads the records below prefix.
func (s *Store) List(ctx context.Context, prefix string, limit int, newestFirst bool) ([]rollout.Record, error) {
	var all []rollout.Record
	err := s.locked(ctx, func() error {
		doc, err := s.load()
		for _, key := range slices.Sorted(maps.Keys(doc.Records)) {
			if strings.HasPrefix(key, prefix) {
				all = append(all, doc.record(key))
			}
		}
		return err
	})
	if newestFirst {
		slices.Reverse(all)
	}
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, err
}

// Apply makes all changes or none. What has expired goes with the next change.
func (s *Store) Apply(ctx context.Context, changes ...rollout.Change) error {
	if err := rollout.CheckChanges(changes...); err != nil {
		return fmt.Errorf("write to %s: %w", s.path, err)
	}
	return s.locked(ctx, func() error {
		doc, err := s.load()
		if err != nil {
			return err
		}
		now := make(map[string]rollout.Record, len(changes))
		for _, c := range changes {
			now[c.Key] = doc.record(c.Key)
		}
		left, err := rollout.MakeAll(now, changes)
		if err != nil {
			return fmt.Errorf("write to %s: %w", s.path, err)
		}
		if left == nil { // it was made before
			return nil
		}
		for i, c := range changes {
			doc.keep(left[i], c)
		}
		maps.DeleteFunc(doc.Records, func(_ string, it item) bool { return it.Expires != 0 && it.Expires < s.now().Unix() })
		return s.file.Save(doc)
	})
}

func (s *Store) load() (document, error) {
	doc, err := s.file.Load()
	if err != nil {
		return document{}, err
	}
	if doc.Schema > schema {
		return document{}, fmt.Errorf("%s has schema %d, and this version of bootagent reads %d: upgrade it, or move the file away, "+
			"which forgets what was decided", s.path, doc.Schema, schema)
	}
	doc.Schema = schema
	if doc.Records == nil {
		doc.Records = map[string]item{}
	}
	return doc, nil
}

func (d document) record(key string) rollout.Record {
	it, ok := d.Records[key]
	if !ok {
		return rollout.Record{Key: key}
	}
	if it.Attributes == nil {
		it.Attributes = map[string]string{}
	}
	return rollout.Record{Key: key, Attributes: it.Attributes}
}

// keep puts the record as a change leaves it into the document.
func (d document) keep(r rollout.Record, c rollout.Change) {
	switch {
	case c.Delete:
		delete(d.Records, c.Key)
	case c.Writes():
		it := item{Attributes: r.Attributes}
		if !c.Expires.IsZero() {
			it.Expires = c.Expires.Unix()
		}
		d.Records[c.Key] = it
	}
}

// locked does something while no other caller, here or in another process, does.
func (s *Store) locked(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("use %s: %w", s.path, err)
	}
	select {
	case <-s.turn:
	case <-ctx.Done():
		return s.busy(ctx)
	}
	defer func() { s.turn <- struct{}{} }()
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errBusy)
	defer cancel()

	// The lock file stays: who removed it could let two in, one on each file of that name.
	lock, err := os.OpenFile(s.path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock %s: %w", s.path, err)
	}
	defer func() { _ = lock.Close() }() // which gives the lock back
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return do()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", s.path, err)
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return s.busy(ctx)
		}
	}
}

var errBusy = errors.New("another process holds the lock")

func (s *Store) busy(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, errBusy) {
		return fmt.Errorf("%s is in use: waited %s for its lock, %s.lock, which another process holds: look for a second bootagent on "+
			"this instance, or a command that hangs: %w", s.path, s.patience, s.path, cause)
	}
	return fmt.Errorf("use %s: %w", s.path, context.Cause(ctx))
}
