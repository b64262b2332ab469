package releases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// maxDepth bounds directories in directories of what a build leaves, each of which is two open files while it is walked. The
// deepest trees of node_modules have some dozens.
const maxDepth = 500

// TreeError says that a build left something that no release may hold. It is the revision's fault.
type TreeError struct {
	Path   string // in the app's tree
	Reason string
}

func (e *TreeError) Error() string {
	return fmt.Sprintf("the build left %q, which %s", e.Path, e.Reason)
}

// Revision says that the revision is to blame, and not the machine.
func (e *TreeError) Revision() bool { return true }

// Give makes app, home and tmp, and all below app, the build user's, before the build runs. It needs root.
func (a *Attempt) Give(uid, gid int) error {
	fail := func(err error) error {
		return fmt.Errorf("give release %d to the user that builds it (uid %d): %w", a.number, uid, err)
	}
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = root.Close() }()
	for _, name := range []string{homeName, tmpName} {
		if err := root.Lchown(name, uid, gid); err != nil {
			return fail(err)
		}
	}
	// Its own directory last of all: until then nobody else can change what is walked.
	err = walkApp(root, func(dir *os.Root, name, _ string, _ fs.FileInfo) error { return dir.Lchown(name, uid, gid) })
	if err == nil {
		err = root.Lchown(appName, uid, gid)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// Take makes what was built the agent's (root's), readable by the group of the user that runs it, and writable by its owner
// alone. Nothing of the build may run any more. home and tmp are removed first, for they may share files with the tree; then
// everything below app is looked at before anything is changed. What can't be taken is a *TreeError: a file with hard links from
// outside of the tree, which somebody else could go on writing or which was never the build's, and devices, FIFOs and sockets.
//
// Files and directories lose setuid, setgid and sticky bits, and the w of group and others; the group may read, and enter or execute
// what the owner may; others get nothing that they did not have. (The kernel takes file capabilities away with a new
// owner, and the group's bits bound what an ACL grants.) Links change their owner alone. It needs root.
func (a *Attempt) Take(gid int) error {
	fail := func(err error) error {
		return fmt.Errorf("take release %d over from the user that built it: %w", a.number, err)
	}
	if err := a.dropScratch(); err != nil {
		return fail(err)
	}
	root, err := os.OpenRoot(a.dir)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = root.Close() }()
	links := links{}
	if err := walkApp(root, links.look); err != nil {
		return fail(err)
	}
	if err := links.check(); err != nil {
		return fail(err)
	}
	uid := os.Geteuid()
	take := func(dir *os.Root, name, _ string, info fs.FileInfo) error {
		if err := dir.Lchown(name, uid, gid); err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return err
		}
		return dir.Chmod(name, taken(info.Mode()))
	}
	// Its own directory first: from here on the build's user changes nothing.
	info, err := root.Lstat(appName)
	if err == nil {
		err = take(root, appName, "", info)
	}
	if err == nil {
		err = walkApp(root, take)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// taken is the mode of a file or a directory that Take has taken.
func taken(mode fs.FileMode) fs.FileMode {
	perm := mode.Perm()
	return perm&^0o022 | 0o040 | perm&0o100>>3
}

// links are the regular files with more than one name that were met.
type links map[inode]*met

type inode struct{ device, number uint64 }

type met struct {
	path        string
	names, here uint64 // how many there are, and how many of them are in the tree
}

func (l links) look(_ *os.Root, _, p string, info fs.FileInfo) error {
	switch info.Mode().Type() {
	case 0:
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: how many links it has can't be seen here", p)
		}
		if st.Nlink > 1 {
			id := inode{st.Dev, st.Ino}
			if l[id] == nil {
				l[id] = &met{path: p, names: uint64(st.Nlink)} //nolint:unconvert // 32 bits on other architectures
			}
			l[id].here++
		}
	case fs.ModeDir, fs.ModeSymlink:
	case fs.ModeNamedPipe:
		return &TreeError{p, "is a FIFO; a release holds files, directories and links alone"}
	case fs.ModeSocket:
		return &TreeError{p, "is a socket; a release holds files, directories and links alone"}
	default:
		return &TreeError{p, "is a device; a release holds files, directories and links alone"}
	}
	return nil
}

// check refuses a file that has names outside of the tree. One of several is named, the first by path.
func (l links) check() error {
	var worst *met
	for _, m := range l {
		if m.names != m.here && (worst == nil || m.path < worst.path) {
			worst = m
		}
	}
	if worst == nil {
		return nil
	}
	return &TreeError{worst.path, fmt.Sprintf("has %d hard links, and %d of them are outside of the release: let the build copy the file", worst.names, worst.names-worst.here)}
}

// walkApp visits all that is below the tree's app, each directory before what is in it, with the open directory that holds it, its
// name there, and its path. It follows no link.
func walkApp(root *os.Root, visit func(dir *os.Root, name, path string, info fs.FileInfo) error) error {
	app, err := descend(root, appName)
	if err != nil {
		return err
	}
	defer func() { _ = app.Close() }()
	return walk(app, "", 1, visit)
}

// descend opens a directory, and never what a link in its place names.
func descend(dir *os.Root, name string) (*os.Root, error) {
	if info, err := dir.Lstat(name); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, &TreeError{name, "is no directory any more"}
	}
	return dir.OpenRoot(name)
}

func walk(dir *os.Root, at string, depth int, visit func(dir *os.Root, name, path string, info fs.FileInfo) error) error {
	if depth > maxDepth {
		return &TreeError{at[:60] + "…", fmt.Sprintf("is more than %d directories deep", maxDepth)}
	}
	names, err := namesIn(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		p := path.Join(at, name)
		info, err := dir.Lstat(name)
		if err == nil {
			err = visit(dir, name, p, info)
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			continue
		}
		sub, err := descend(dir, name)
		if err != nil {
			return err
		}
		if err := errors.Join(walk(sub, p, depth+1, visit), sub.Close()); err != nil {
			return err
		}
	}
	return nil
}

func namesIn(dir *os.Root) ([]string, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}
