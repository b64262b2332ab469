package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// shape is what a repository looks like. The same shape makes the same repository, to the SHA.
type shape struct {
	name string
	// text and binaries are how many files of each there are, and how many bytes they have together.
	text, binaries         int
	textBytes, binaryBytes int
	// commits is how long the history is. Each one but the first edits a twentieth of the texts.
	commits int
}

func shapes() []shape {
	return []shape{
		{"small: few files, large binaries", 1500, 100, 10e6, 17e6, 6},
		{"middle: many small files", 7600, 400, 36e6, 14e6, 6},
		{"large: sources of a big program", 12700, 300, 92e6, 14e6, 6},
	}
}

// repository is one that was made.
type repository struct {
	shape
	path  string // of the bare repository
	url   string
	sha   string // of its tip
	files int    // in the tip's tree, links among them
	bytes int64
}

// makeRepository makes a bare repository of that shape.
func makeRepository(ctx context.Context, s shape, path string) (*repository, error) {
	if err := importRepository(ctx, s, path); err != nil {
		return nil, err
	}
	// Packed as a server has it: delta chains over the history, and between files that are alike.
	if _, err := git(ctx, path, "repack", "-adfq"); err != nil {
		return nil, err
	}
	r := &repository{shape: s, path: path}
	var err error
	if r.sha, err = git(ctx, path, "rev-parse", "main"); err != nil {
		return nil, err
	}
	entries, err := listTree(ctx, path, r.sha)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		r.files++
		r.bytes += e.size
	}
	return r, nil
}

// importRepository makes it as git fast-import leaves it: with all objects, and not as a server would pack them.
func importRepository(ctx context.Context, s shape, path string) error {
	if _, err := git(ctx, "", "init", "--quiet", "--bare", "--initial-branch=main", path); err != nil {
		return err
	}
	if err := fastImport(ctx, path, s.write); err != nil {
		return fmt.Errorf("make the repository %q: %w", s.name, err)
	}
	return nil
}

// fastImport lets write say what git fast-import reads.
func fastImport(ctx context.Context, path string, write func(io.Writer)) (err error) {
	command := exec.CommandContext(ctx, "git", "--git-dir", path, "fast-import", "--quiet", "--done", "--date-format=raw")
	command.Env = gitEnvironment()
	in, err := command.StdinPipe()
	if err != nil {
		return err
	}
	var said strings.Builder
	command.Stderr = &said
	if err := command.Start(); err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(in, 1<<20)
	write(buffered)
	if err := errors.Join(buffered.Flush(), in.Close(), command.Wait()); err != nil {
		return fmt.Errorf("git fast-import: %w: %s", err, said.String())
	}
	return nil
}

// write writes the history for git fast-import, in which each commit follows the one before it. Errors of out show at its end: it is buffered.
func (s shape) write(out io.Writer) {
	for commit := range s.commits {
		message := fmt.Sprintf("Commit %d\n", commit)
		fmt.Fprintf(out, "commit refs/heads/main\ncommitter Bench <bench@example.org> %d +0000\ndata %d\n%s",
			1_700_000_000+commit*86_400, len(message), message)
		s.writeTexts(out, commit)
		if commit == 0 {
			s.writeBinaries(out)
		}
	}
	fmt.Fprint(out, "done\n")
}

// writeTexts writes the texts that a commit makes or edits.
func (s shape) writeTexts(out io.Writer, commit int) {
	lengths := shares(s.text, s.textBytes, 1)
	for i := range s.text {
		if commit > 0 && i%20 != commit {
			continue
		}
		r := rand.New(rand.NewPCG(2, uint64(i)))
		// One in eight begins as the one before it, as files of a program do that were copied once.
		lines := i
		if i%8 == 7 {
			lines = i - 1
		}
		body := prose(rand.New(rand.NewPCG(3, uint64(lines))), lengths[i])
		if i%8 == 7 || commit > 0 {
			body = edited(rand.New(rand.NewPCG(uint64(4+commit), uint64(i))), body)
		}
		name, mode := fmt.Sprintf("%s/%s%05d.go", directory(i, s.text), word(r), i), "100644"
		switch {
		case i%211 == 210 && commit == 0:
			fmt.Fprintf(out, "M 120000 inline %s.link\ndata %d\n%s\n", name, len(filepath.Base(name)), filepath.Base(name))
		case i%97 == 96:
			mode = "100755"
		}
		fmt.Fprintf(out, "M %s inline %s\ndata %d\n%s\n", mode, name, len(body), body)
	}
}

// writeBinaries writes what can't be compressed: pictures, archives, fonts.
func (s shape) writeBinaries(out io.Writer) {
	for i, length := range shares(s.binaries, s.binaryBytes, 5) {
		r := rand.New(rand.NewPCG(6, uint64(i)))
		body := make([]byte, length)
		for n := range body {
			body[n] = byte(r.Uint32())
		}
		fmt.Fprintf(out, "M 100644 inline %s/%s%05d.png\ndata %d\n", directory(i*13, s.text), word(r), i, length)
		_, _ = out.Write(body) // see write
		fmt.Fprint(out, "\n")
	}
}

// shares divides bytes among n files, most of them small and few large, as files are.
func shares(n, bytes int, seed uint64) []int {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	weights, sum := make([]float64, n), 0.0
	for i := range weights {
		weights[i] = 0.05 + r.ExpFloat64()
		sum += weights[i]
	}
	out := make([]int, n)
	for i, w := range weights {
		out[i] = int(w / sum * float64(bytes))
	}
	return out
}

// directory is where the i-th of n files is: a tree of directories with a dozen files each, six in each one.
func directory(i, n int) string {
	path := ""
	for d := i % (n/12 + 1); d > 0; d = (d - 1) / 6 {
		path = fmt.Sprintf("/part%d%s", d, path)
	}
	return "src" + path
}

func words() []string {
	return strings.Fields("func return if err nil for range context string int error package import struct type var request response handler " +
		"server client config value name key map slice append len close open read write switch case default defer select go chan const")
}

func word(r *rand.Rand) string { all := words(); return all[r.IntN(len(all))] }

// line is how long one of prose is, more or less.
const line = 70

// prose is text that looks like a program: words, names, indentation, lines.
func prose(r *rand.Rand, length int) []byte {
	all := words()
	out := make([]byte, 0, length+4*line)
	for len(out) < length-line/2 {
		for range r.IntN(4) {
			out = append(out, '\t')
		}
		for range 3 + r.IntN(9) {
			out = append(append(out, all[r.IntN(len(all))]...), ' ')
			if r.IntN(3) == 0 {
				out = fmt.Appendf(out, "v%d ", r.IntN(5000))
			}
		}
		out = append(out, '\n')
	}
	return out
}

// edited is a text with a few of its lines written anew.
func edited(r *rand.Rand, text []byte) []byte {
	lines := strings.SplitAfter(string(text), "\n")
	for range 1 + len(lines)/30 {
		lines[r.IntN(len(lines))] = string(prose(r, line))
	}
	return []byte(strings.Join(lines, ""))
}

// gitEnvironment keeps the machine's and the user's configuration of git out, and its questions.
func gitEnvironment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "HOME=" + os.DevNull, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0"}
}

// git runs git, in that bare repository unless it is "", and gives what it prints.
func git(ctx context.Context, path string, args ...string) (string, error) {
	if path != "" {
		args = append([]string{"--git-dir", path}, args...)
	}
	command := exec.CommandContext(ctx, "git", args...)
	command.Env = gitEnvironment()
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}
