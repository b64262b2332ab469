package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// spoolName is where files wait for their place: a name that no entry of a tree may have.
const spoolName = ".git"

// Temp is a file in the spool: content whose name is not known yet. It lies on the tree's own filesystem, so that
// Adopt is a rename.
type Temp struct {
	id   int64
	size int64
}

// TempFile is a Temp that is still being written.
type TempFile struct {
	*os.File
	id int64
}

// Spool writes a whole content into the spool. It may be called by several goroutines at a time.
func (w *Writer) Spool(content []byte) (Temp, error) {
	f, err := w.NewTemp()
	if err != nil {
		return Temp{}, err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		return Temp{}, fmt.Errorf("write to the spool: %w", err)
	}
	return Temp{id: f.id, size: int64(len(content))}, nil
}

// NewTemp opens a new file of the spool. Close it, then take its Temp. It may be called by several goroutines at a time.
func (w *Writer) NewTemp() (*TempFile, error) {
	if err := w.openSpool(); err != nil {
		return nil, err
	}
	id := w.temps.Add(1)
	f, err := createAt(w.spool, tempName(id))
	if err != nil {
		return nil, fmt.Errorf("write to the spool: %w", err)
	}
	return &TempFile{File: f, id: id}, nil
}

func (w *Writer) openSpool() error {
	w.spoolOnce.Do(func() {
		root := w.stack[0].root
		if w.spoolErr = root.Mkdir(spoolName, 0o700); w.spoolErr == nil {
			w.spool, w.spoolErr = root.Open(spoolName)
		}
	})
	if w.spoolErr != nil {
		return fmt.Errorf("make the spool: %w", w.spoolErr)
	}
	return nil
}

// Scratch makes a directory in the spool, for another program to work in, and gives its path. It goes with the spool; what is in
// there is no part of the tree.
func (w *Writer) Scratch() (string, error) {
	if err := w.openSpool(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Join(w.dir, spoolName), "scratch-") // no Temp has a dash in its name
	if err != nil {
		return "", fmt.Errorf("make room in the spool: %w", err)
	}
	return dir, nil
}

// Temp gives what Adopt takes; size is what was written.
func (f *TempFile) Temp(size int64) Temp { return Temp{id: f.id, size: size} }

// Size is the content's length in bytes.
func (t Temp) Size() int64 { return t.size }

// OpenTemp opens a file of the spool for reading.
func (w *Writer) OpenTemp(t Temp) (*os.File, error) {
	f, err := openAt(w.spool, tempName(t.id))
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	return f, nil
}

// Adopt gives a file of the spool its name. It is gone from the spool then: further names for the same content are
// copies (File with Open).
func (w *Writer) Adopt(name string, executable bool, t Temp) error {
	at, base, err := w.place(name)
	if err != nil {
		return err
	}
	if err := w.admit(name, t.size, t.size); err != nil {
		return err
	}
	if executable {
		if err := chmodAt(w.spool, tempName(t.id), mode(true)); err != nil {
			return fmt.Errorf("write %q: %w", name, err)
		}
	}
	if err := renameNoReplace(w.spool, tempName(t.id), at.file, base); err != nil {
		return collision(name, err)
	}
	return nil
}

func tempName(id int64) string { return strconv.FormatInt(id, 36) }
