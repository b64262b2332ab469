package tree

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	// targetMax is PATH_MAX: the longest target that the kernel takes.
	targetMax = 4095
	// targetsMax bounds the targets of all links of a tree, in bytes: they wait in memory for Finish.
	targetsMax = 16 << 20
	// stepsMax bounds the steps that it takes to follow all links of a tree, one for each part of a target: a second's work.
	stepsMax = 4 << 20
)

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
	if w.targets += len(target); w.targets > targetsMax {
		return &LimitError{Path: name, What: "bytes of targets of links", Limit: targetsMax}
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
	case w.limits.Links == LinksInside && strings.HasPrefix(target, "/") && !w.limits.leadsToSystem(target):
		return fmt.Sprintf("its target %q is absolute, and links must stay inside the tree", shorten(target))
	}
	return ""
}

// isGitFile knows the files that are read before anybody asks what they are, as git does for .gitmodules (CVE-2018-11235),
// in the disguises that isDotGit knows: those of HFS+, and NTFS's streams and short names (git's path.c, is_ntfs_dot_generic).
func isGitFile(name string) bool {
	folded, _, _ := strings.Cut(strings.ToLower(hfsFold(name)), ":")
	folded = strings.TrimRight(folded, ". ")
	for _, file := range []struct{ name, short, hashed string }{
		{".gitmodules", "gitmod~", "gi7eba~"}, {".gitattributes", "gitatt~", "gi7d29~"},
	} {
		if folded == file.name || isShortName(folded, file.short) || isShortName(folded, file.hashed) {
			return true
		}
	}
	return false
}

// isShortName says whether NTFS may have made this name of eight characters: the prefix and a number.
func isShortName(name, prefix string) bool {
	number, ok := strings.CutPrefix(name, prefix)
	return ok && len(name) <= 8 && number != "" && strings.Trim(number, "0123456789") == ""
}

// checkLinks follows every link, now that all are known.
func (w *Writer) checkLinks(ctx context.Context) error {
	if w.limits.Links != LinksInside {
		return nil
	}
	steps := stepsMax
	for _, name := range w.order {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !w.staysInside(name, &steps) {
			return &HostileError{Path: name, Reason: fmt.Sprintf("its target %q leads out of the tree", shorten(w.links[name]))}
		}
		if steps < 0 {
			return &LimitError{Path: name, What: "steps to follow all links", Limit: stepsMax}
		}
	}
	return nil
}

// makeLinks makes first every directory that a link stands in and then the links, so that none is ever written through.
func (w *Writer) makeLinks(ctx context.Context) error {
	if err := w.checkLinks(ctx); err != nil {
		return err
	}
	for _, name := range w.order {
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
// What does not exist stays where its name says. It ends where no steps are left, with true.
// Where a link on the way leads to one of the directories outside that are allowed, the rest of the way must not step back.
func (w *Writer) staysInside(link string, steps *int) bool {
	var at []byte // where we are, without a slash at its end; empty is the root
	if dir := path.Dir(link); dir != "." {
		at = append(at, dir...)
	}
	todo := []string{w.links[link]} // what is left of each link on the way, the innermost last
	if strings.HasPrefix(w.links[link], "/") {
		return true // it was allowed to
	}
	for hops := 0; len(todo) > 0; {
		last := len(todo) - 1
		next, rest, more := strings.Cut(todo[last], "/")
		if todo[last] = rest; !more {
			todo = todo[:last]
		}
		if *steps--; *steps < 0 {
			return true
		}
		switch next {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return false
			}
			at = at[:max(bytes.LastIndexByte(at, '/'), 0)]
			continue
		}
		above := len(at)
		if above > 0 {
			at = append(at, '/')
		}
		if at = append(at, next...); len(at) > w.limits.PathBytes {
			continue // too long for any link of the tree
		}
		target, isLink := w.links[string(at)]
		if !isLink {
			continue
		}
		if hops++; hops > hopsMax {
			return true // leads nowhere: ELOOP
		}
		if strings.HasPrefix(target, "/") { // and was allowed to
			return !slices.ContainsFunc(todo, stepsBack)
		}
		at, todo = at[:above], append(todo, target)
	}
	return true
}
