//go:build linux

package process

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/internal/unit"
)

// schema is the version of the record's layout. A record of a higher one was written by a newer agent.
const schema = 1

// record is what is remembered of a unit, in a file, so that the next agent can adopt it. It holds neither the
// environment nor the arguments: both may be secret.
type record struct {
	Schema  int           `json:"schema"`
	Name    string        `json:"name"`
	Nonce   string        `json:"nonce"` // drawn for each start
	BootID  string        `json:"boot_id"`
	Started time.Time     `json:"started"`
	Release model.Release `json:"release"`
	Process string        `json:"process,omitempty"`
	Port    int           `json:"port,omitempty"`
	Dir     string        `json:"dir"`
	User    string        `json:"user,omitempty"`
	// PID and StartTicks are of the main process. They are 0 from just before it is started until just after:
	// an agent that dies in between leaves them so, and the next one looks for the marker.
	PID        int    `json:"pid,omitempty"`
	StartTicks uint64 `json:"start_ticks,omitempty"`
	Exit       *exit  `json:"exit,omitempty"` // nil while it runs
}

// exit is how the main process ended.
type exit struct {
	Code   int       `json:"code"` // -1 with a signal, or when nobody was there to see
	Signal string    `json:"signal,omitempty"`
	At     time.Time `json:"at"`
}

func (rec record) leader() ident  { return ident{pid: rec.PID, start: rec.StartTicks} }
func (rec record) marker() string { return rec.Name + "/" + rec.Nonce }

func (rec record) status() unit.Status {
	s := unit.Status{
		Spec: unit.Spec{
			Name: rec.Name, Dir: rec.Dir, User: rec.User,
			Release: rec.Release, Process: rec.Process, Port: rec.Port,
		},
		State:   unit.Running,
		PID:     rec.PID,
		Started: rec.Started,
	}
	if rec.Exit != nil {
		s.State, s.ExitCode, s.Signal = unit.Exited, rec.Exit.Code, rec.Exit.Signal
	}
	return s
}

// nonce draws a number that no other start has.
func nonce() string {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program rather than return an error
	return hex.EncodeToString(b[:])
}

const recordSuffix = ".json"

// loadRecords reads all records of the directory. One that can't be understood is an error: there may be a process
// behind it, and who forgets it leaves it running for ever.
func loadRecords(dir string) ([]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the records of units: %w", err)
	}
	var records []record
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(e.Name(), temporarySuffix) {
			_ = os.Remove(path) // a write that was cut off; the record itself is whole
			continue
		}
		if !strings.HasSuffix(e.Name(), recordSuffix) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the record of a unit: %w", err)
		}
		var rec record
		if err := json.Unmarshal(text, &rec); err != nil {
			return nil, fmt.Errorf("the record %s is damaged: end the unit that it names by hand, and remove the file: %w", path, err)
		}
		if rec.Schema > schema {
			return nil, fmt.Errorf("the record %s has schema %d, this bootagent knows %d: use the newer bootagent that wrote it", path, rec.Schema, schema)
		}
		if rec.Name+recordSuffix != e.Name() {
			return nil, fmt.Errorf("the record %s names the unit %q: somebody has moved it; end that unit by hand, and remove the file", path, rec.Name)
		}
		records = append(records, rec)
	}
	return records, nil
}

// save writes the record: after it returns the file is the new one, also after a power loss.
func (rec record) save(dir string) error {
	text, err := json.MarshalIndent(rec, "", "  ")
	if err == nil {
		err = writeFile(filepath.Join(dir, rec.Name+recordSuffix), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write down the unit %s: %w", rec.Name, err)
	}
	return nil
}

// forget removes the record; one that is not there is no error.
func forget(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name+recordSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the unit %s: %w", name, err)
	}
	return nil
}

const temporarySuffix = ".tmp"

// writeFile replaces a file as a whole. Writers of the same path take turns.
func writeFile(path string, content []byte) (err error) {
	temporary := path + temporarySuffix
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
