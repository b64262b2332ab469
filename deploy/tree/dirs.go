package tree

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
)

// level is an open directory.
type level struct {
	path string // "" is the root
	root *os.Root
	file *os.File
}

// descend takes ownership of root, an open directory.
func (w *Writer) descend(name string, root *os.Root) error {
	file, err := root.Open(".")
	if err == nil {
		err = file.Chmod(0o755) // the umask may have taken bits away
	}
	if err != nil {
		return errors.Join(err, closeAll(file, root))
	}
	w.stack = append(w.stack, &level{path: name, root: root, file: file})
	return nil
}

// place checks a name, counts it, and opens the directory it goes to.
func (w *Writer) place(name string) (*level, string, error) {
	if err := w.check(name); err != nil {
		return nil, "", err
	}
	dir, base := path.Split(name)
	at, err := w.enter(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return nil, "", err
	}
	return at, base, w.count(name)
}

func (w *Writer) count(name string) error {
	if w.files++; w.files > w.limits.Files {
		return &LimitError{Path: name, What: "files, links and directories", Limit: int64(w.limits.Files)}
	}
	return nil
}

// enter opens a directory, making it and those above it where they are missing. Trees come in order, so most
// steps are to where we are, one down, or some up.
func (w *Writer) enter(dir string) (*level, error) {
	if len(w.stack) == 0 {
		return nil, errors.New("the tree is closed")
	}
	top := w.stack[len(w.stack)-1]
	for dir != top.path && top.path != "" && !strings.HasPrefix(dir, top.path+"/") {
		err := closeAll(top.file, top.root)
		w.stack = w.stack[:len(w.stack)-1]
		if err != nil {
			return nil, err
		}
		top = w.stack[len(w.stack)-1]
	}
	for dir != top.path {
		rest := strings.TrimPrefix(strings.TrimPrefix(dir, top.path), "/")
		name, _, _ := strings.Cut(rest, "/")
		if err := w.step(top, name); err != nil {
			return nil, err
		}
		top = w.stack[len(w.stack)-1]
	}
	return top, nil
}

func (w *Writer) step(top *level, name string) error {
	full := path.Join(top.path, name)
	if _, isLink := w.links[full]; isLink {
		return &HostileError{Path: full, Reason: "it is a symbolic link and a directory at once"}
	}
	made := top.root.Mkdir(name, 0o755)
	if made != nil && !errors.Is(made, fs.ErrExist) {
		return made
	}
	if made == nil {
		if err := w.count(full); err != nil {
			return err
		}
	}
	// There are no links yet, so what is no directory is a file that was written before.
	if info, err := top.root.Lstat(name); err == nil && !info.IsDir() {
		return &HostileError{Path: full, Reason: "it is a file and a directory at once"}
	}
	sub, err := top.root.OpenRoot(name)
	if err != nil {
		return err
	}
	return w.descend(full, sub)
}
