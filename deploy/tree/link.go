package tree

import (
	"context"
	"fmt"
	"path"
	"strings"
)

// targetMax is PATH_MAX: the longest target that the kernel takes.
const targetMax = 4095

// Symlink notes a symbolic link, to be made by Finish after all files. Its target is checked then, when all the
// other links are known.
func (w *Writer) Symlink(name, target string) error {
	if err := w.check(name); err != nil {
		return err
	}
	if reason := w.badLink(name, target); reason != "" {
		return &HostileError{Path: name, Reason: reason}
	}
	if err := w.count(name); err != nil {
		return err
	}
	w.links[name] = target
	w.order = append(w.order, name)
	return nil
}

func (w *Writer) badLink(name, target string) string {
	switch {
	case w.limits.Links == LinksNone:
		return "symbolic links are not allowed here"
	case target == "":
		return "a symbolic link must point somewhere"
	case len(target) > targetMax:
		return fmt.Sprintf("a symbolic link's target must not be longer than %d bytes", targetMax)
	case strings.ContainsRune(target, 0):
		return "a symbolic link's target must not contain NUL"
	case isGitFile(path.Base(name)):
		return "a file that tells git what to do must not be a symbolic link"
	case w.limits.Links == LinksInside && strings.HasPrefix(target, "/"):
		return fmt.Sprintf("its target %q is absolute, and links must stay inside the tree", shorten(target))
	}
	return ""
}

// isGitFile knows the files that are read before anybody asks what they are, as git does for .gitmodules (CVE-2018-11235),
// in the disguises that isDotGit knows.
func isGitFile(name string) bool {
	switch strings.TrimRight(strings.ToLower(hfsFold(name)), ". ") {
	case ".gitmodules", ".gitattributes":
		return true
	}
	return false
}

// makeLinks makes first every directory that a link stands in and then the links, so that none is ever written through.
func (w *Writer) makeLinks(ctx context.Context) error {
	for _, name := range w.order {
		if w.limits.Links == LinksInside && !w.staysInside(name) {
			return &HostileError{Path: name, Reason: fmt.Sprintf("its target %q leads out of the tree", shorten(w.links[name]))}
		}
		if dir := path.Dir(name); dir != "." {
			if _, err := w.enter(dir); err != nil {
				return err
			}
		}
	}
	for _, name := range w.order {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		dir, base := path.Split(name)
		at, err := w.enter(strings.TrimSuffix(dir, "/"))
		if err != nil {
			return err
		}
		if err := at.root.Symlink(w.links[name], base); err != nil {
			return collision(name, err)
		}
	}
	return nil
}

// hopsMax is the kernel's own limit (MAXSYMLINKS): a link that goes through more is a loop to everybody.
const hopsMax = 40

// staysInside follows a link as the kernel would, through the other links: "a/b/d/../x" is no a/b/x where d is a link.
// What does not exist stays where its name says.
func (w *Writer) staysInside(link string) bool {
	at := components(path.Dir(link))
	todo := strings.Split(w.links[link], "/")
	for hops := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch next {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return false
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at[:len(at):len(at)], next)
		target, isLink := w.links[strings.Join(at, "/")]
		if !isLink {
			continue
		}
		if hops++; hops > hopsMax {
			return true // leads nowhere: ELOOP
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(target, "/"), todo...)
	}
	return true
}

func components(dir string) []string {
	if dir == "." {
		return nil
	}
	return strings.Split(dir, "/")
}
