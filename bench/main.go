// Command bench measures bootagent beside what it replaces, everything in one run on one machine: a checkout beside git's
// and tar's, fetching a built release beside the AWS CLI's and curl's, a whole boot into service beside the user-data script
// that people write today, and what an agent costs that only serves. It writes a table with ratios to bench/RESULTS.md.
//
// What is compared is run in turns (A B C A B C …), so that whatever else the machine does hits all alike, and the
// medians are shown. Every measured process is a process of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// enough is the least number of turns whose median is a result.
const enough = 5

// patience bounds a whole run.
const patience = 2 * time.Hour

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	var err error
	switch mode, rest := first(args); mode {
	case modeMeasure:
		err = measureHere(rest)
	case modeFetch:
		err = fetchHere(ctx, rest)
	case modeServe:
		err = serveHere(ctx, rest)
	case modePack:
		err = packHere(ctx, rest)
	case modeUnpack:
		err = unpackHere(ctx, rest)
	default:
		err = run(ctx, args, os.Stdout)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// first is an argument that may be the name of another life of this program, and those after it.
func first(args []string) (string, []string) {
	if len(args) == 0 {
		return "", nil
	}
	return args[0], args[1:]
}

// options are the command's flags.
type options struct {
	turns   int
	only    string
	place   string
	anyDisk bool
	out     string
	agent   string
	aws     string
	watch   time.Duration
}

// bench is what the parts share.
type bench struct {
	options
	self string // this program, for its other lives
	dir  string // the run's own directory, removed at its end
	made *app   // the app that is booted, once it is made
	say  func(format string, args ...any)
}

// part is one of the things that are measured.
type part struct {
	name, title string
	run         func(*bench, context.Context, *section) error
}

func parts() []part {
	return []part{
		{"checkout", "Checkout", (*bench).checkout},
		{"scale-out", "Scale-out with a warm cache", (*bench).scaleOut},
		{"boot", "A whole boot, from launch to in service", (*bench).boot},
		{"idle", "An agent that serves, and the binary", (*bench).idle},
	}
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.turns, "turns", enough, "how often each is measured; fewer than five are no result, and RESULTS.md says so")
	flags.StringVar(&o.only, "only", "", "measure these parts alone, separated by commas: "+strings.Join(names(), ", "))
	flags.StringVar(&o.place, "dir", "/dev/shm", "where everything is done: a directory on tmpfs")
	flags.BoolVar(&o.anyDisk, "any-disk", false, "take a -dir that is not on tmpfs")
	flags.StringVar(&o.out, "out", "bench/RESULTS.md", "where the results are written")
	flags.StringVar(&o.agent, "agent", "bin/bootagent", "the bootagent program")
	flags.StringVar(&o.aws, "aws", "", "the AWS CLI; by default the pinned one that the tests use, or the one in PATH")
	flags.DurationVar(&o.watch, "idle", time.Minute, "for how long the agent that serves is watched")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	if o.turns < 1 || o.watch < time.Second || flags.NArg() > 0 {
		return errors.New("-turns takes a number from 1, -idle a duration from 1s, and there are no other arguments")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("a run may take %s, and this one was not done", patience))
	defer cancel()
	b, err := open(o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r := report{machine: describe(ctx, o.aws), turns: o.turns, busy: busy(file("/proc/loadavg"), runtime.NumCPU())}
	for _, p := range parts() {
		s := &section{title: p.title}
		if r.sections = append(r.sections, s); !slices.Contains(chosen, p.name) {
			s.notMeasured("not part of this run")
			continue
		}
		b.say("%s", p.title)
		err := p.run(b, ctx, s)
		if ctx.Err() != nil { // whatever it was that it ended
			err = context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	text := r.markdown()
	fmt.Fprint(out, "\n"+text)
	if err := os.WriteFile(o.out, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	b.say("written to %s", o.out)
	return nil
}

func names() (out []string) {
	for _, p := range parts() {
		out = append(out, p.name)
	}
	return out
}

// choose reads -only.
func choose(only string) ([]string, error) {
	if only == "" {
		return names(), nil
	}
	chosen := strings.Split(only, ",")
	for _, name := range chosen {
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("-only names %q, and there is only %s", name, strings.Join(names(), ", "))
		}
	}
	return chosen, nil
}

// open makes the run's directory, and finds what it needs.
func open(o options, out io.Writer) (*bench, error) {
	if err := inMemory(o); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if o.agent, err = filepath.Abs(o.agent); err != nil {
		return nil, err
	}
	if _, err := os.Stat(o.agent); err != nil {
		return nil, fmt.Errorf("there is no %s; run it as `make bench`: %w", o.agent, err)
	}
	for _, tool := range []string{"git", "tar", "bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is needed, and is not installed: %w", tool, err)
		}
	}
	dir, err := os.MkdirTemp(o.place, "bench-")
	if err != nil {
		return nil, err
	}
	// The fleets that are booted make their directories there too, and Go its own for builds.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "[%6.1fs] "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	return &bench{options: o, self: self, dir: dir, say: say}, nil
}

func (b *bench) close() error { return os.RemoveAll(b.dir) }

// tmpfs is the type of that file system: statfs(2).
const tmpfs = 0x01021994

// inMemory refuses a directory on a disk: what a disk does from one minute to the next is more than what is measured.
func inMemory(o options) error {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(o.place, &stat); err != nil {
		return fmt.Errorf("look at %s: %w", o.place, err)
	}
	if stat.Type != tmpfs && !o.anyDisk {
		return fmt.Errorf("%s is not on tmpfs, and a disk's moods would be measured: name a directory on tmpfs with -dir, or say -any-disk", o.place)
	}
	return nil
}
