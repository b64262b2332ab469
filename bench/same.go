package main

import (
	"context"
	"crypto/sha1" // git's own name for a blob
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// entry is a file of a commit's tree: git ls-tree -r -l.
type entry struct {
	mode string // "100644", "100755", "120000"
	blob string // the SHA-1 of its content, with git's header
	size int64
}

// listTree gives the files of a commit by their paths.
func listTree(ctx context.Context, path, sha string) (map[string]entry, error) {
	out, err := git(ctx, path, "ls-tree", "-r", "-l", "-z", sha)
	if err != nil {
		return nil, err
	}
	entries := map[string]entry{}
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		about, name, ok := strings.Cut(line, "\t")
		fields := strings.Fields(about) // mode, type, object, size
		if !ok || len(fields) != 4 {
			return nil, fmt.Errorf("git ls-tree printed %q, which is no entry", line)
		}
		size, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("git ls-tree: the size of %s: %w", name, err)
		}
		entries[name] = entry{mode: fields[0], blob: fields[2], size: size}
	}
	return entries, nil
}

// sameTree compares what is in dir with an original, a commit's tree or another directory's: every file's bytes, mode and link, and that
// there is nothing else but the directories that they need. The error names the first difference.
func sameTree(dir string, want map[string]entry) error {
	found := 0
	err := eachFile(dir, func(name string, got entry) error {
		w, ok := want[name]
		if !ok {
			return fmt.Errorf("%s is in the directory and not in the original", name)
		}
		found++
		if got.mode != w.mode || got.blob != w.blob {
			return fmt.Errorf("%s is mode %s, blob %s, and the original has mode %s, blob %s", name, got.mode, got.blob, w.mode, w.blob)
		}
		return nil
	})
	if err == nil && found != len(want) {
		err = fmt.Errorf("the original has %d files and %d of them are there", len(want), found)
	}
	return err
}

// listDir gives the files of a directory by their paths, as listTree gives those of a commit.
func listDir(dir string) (map[string]entry, error) {
	entries := map[string]entry{}
	err := eachFile(dir, func(name string, e entry) error {
		entries[name] = e
		return nil
	})
	return entries, err
}

// eachFile calls do with every file and link below a directory, and their paths from there.
func eachFile(dir string, do func(name string, e entry) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		e, err := entryOf(path, d)
		if err != nil {
			return err
		}
		return do(filepath.ToSlash(name), e)
	})
}

// entryOf is what git would call a file.
func entryOf(path string, d fs.DirEntry) (entry, error) {
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	var body []byte
	mode := "100644"
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		mode = "120000"
		var target string
		target, err = os.Readlink(path)
		body = []byte(target)
	case !info.Mode().IsRegular():
		return entry{}, errors.New(path + " is neither a file nor a link")
	default:
		if info.Mode()&0o111 != 0 {
			mode = "100755"
		}
		body, err = os.ReadFile(path)
	}
	if err != nil {
		return entry{}, err
	}
	hash := sha1.New()
	fmt.Fprintf(hash, "blob %d\x00", len(body))
	hash.Write(body)
	return entry{mode: mode, blob: hex.EncodeToString(hash.Sum(nil)), size: int64(len(body))}, nil
}
