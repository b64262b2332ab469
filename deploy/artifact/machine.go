package artifact

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Machine gives the inputs that a machine brings: its architecture, its operating system, and the tools on a build's PATH. etc is where
// os-release is, "/etc" on every real machine.
func Machine(etc, searchPath string) (Inputs, error) {
	system, err := osRelease(etc)
	if err != nil {
		return nil, err
	}
	tools, err := toolchain(searchPath)
	if err != nil {
		return nil, err
	}
	return Inputs{"architecture": runtime.GOARCH, "system": system, "tools": tools, "path": searchPath}, nil
}

// osRelease is the distribution and its version (os-release(5)): what is built against one's libraries may not run on another's.
func osRelease(etc string) (string, error) {
	f, err := os.Open(filepath.Join(etc, "os-release"))
	if err != nil {
		return "", fmt.Errorf("find out which operating system this is: %w", err)
	}
	defer func() { _ = f.Close() }()
	found := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		found[name] = strings.Trim(value, `"'`)
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("find out which operating system this is: %w", err)
	}
	if found["ID"] == "" {
		return "", fmt.Errorf("%s does not say which operating system this is: ID is missing", f.Name())
	}
	return strings.TrimSpace(found["ID"] + " " + found["VERSION_ID"]), nil
}

// tools are the programs that builds are made with, those that are not there left out.
func tools() []string {
	return []string{
		"ar", "as", "bun", "bundle", "cargo", "cc", "clang", "cmake", "composer", "deno", "dotnet", "elixir", "erl", "g++", "gcc", "ghc", "go", "gradle", "java",
		"javac", "ld", "make", "mix", "mvn", "node", "npm", "perl", "php", "pip", "pip3", "pnpm", "poetry", "python", "python3", "ruby", "rustc", "sbt", "swift", "uv", "yarn", "zig",
	}
}

// toolchain is a digest of the tools that a PATH leads to: of where each really is, how large it is, and of its beginning and its end, in
// which compilers and linkers leave a build id. Reading all of them would take seconds. A tool that was replaced by one of the same
// size, beginning and end is not noticed, as a script that only starts another program may be; the operating system's version is an
// input by itself.
func toolchain(searchPath string) (string, error) {
	h := sha256.New()
	for _, tool := range tools() {
		path := find(searchPath, tool)
		if path == "" {
			continue
		}
		if err := sample(h, tool, path); err != nil {
			return "", fmt.Errorf("look at the tools that builds use: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// find is where a program is on a PATH, "" for nowhere.
func find(searchPath, tool string) string {
	dirs := filepath.SplitList(searchPath)
	n := slices.IndexFunc(dirs, func(dir string) bool {
		info, err := os.Stat(filepath.Join(dir, tool))
		return err == nil && filepath.IsAbs(dir) && info.Mode().IsRegular() && info.Mode()&0o111 != 0
	})
	if n < 0 {
		return ""
	}
	return filepath.Join(dirs[n], tool)
}

// sampleBytes of a tool's beginning and end are read.
const sampleBytes = 16 << 10

func sample(w io.Writer, tool, path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	f, err := os.Open(real)
	if errors.Is(err, fs.ErrPermission) { // it may be run and not read: its place and its size have to do
		info, err := os.Stat(real)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s=%s %d\n", tool, real, info.Size())
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s=%s %d\n", tool, real, info.Size())
	_, err = io.Copy(w, io.NewSectionReader(f, 0, sampleBytes))
	if err == nil {
		_, err = io.Copy(w, io.NewSectionReader(f, max(0, info.Size()-sampleBytes), sampleBytes))
	}
	return err
}
