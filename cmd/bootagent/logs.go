package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/local"
)

func logsCommand() *cobra.Command {
	var f fleetFlags
	l := logs{}
	c := &cobra.Command{
		Use:   "logs [app|build|task]",
		Short: "Print this instance's last output of the app (default), of a build or of a release task",
		Long: "logs prints the last output of the app that serves on this instance, of the last build, or of the last release task.\n" +
			"Away from an instance it prints what the last rollout kept: the first failure, with the app's last lines.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			what := "app"
			if len(args) > 0 {
				what = args[0]
			}
			if what != "app" && what != "build" && what != "task" {
				return &usageError{fmt.Errorf("logs knows app, build and task, not %q", what)}
			}
			if l.lines < 1 {
				return &usageError{fmt.Errorf("-n is %d: give 1 or more lines", l.lines)}
			}
			l.dirs = config.DirectoriesFrom(os.Getenv)
			if _, err := os.Stat(l.dirs.State); err != nil {
				return l.failure(c, &f)
			}
			text, err := l.read(c.Context(), what)
			if err != nil {
				return err
			}
			for _, line := range text {
				fmt.Fprintln(c.OutOrStdout(), safe(line))
			}
			return nil
		},
	}
	f.add(c)
	socketFlag(c, &l.socket)
	c.Flags().IntVarP(&l.lines, "lines", "n", 100, "how many lines")
	c.Flags().Int64Var(&l.release, "release", 0, "of which release (default: of the last, or of what serves)")
	return c
}

type logs struct {
	dirs    config.Directories
	socket  string
	lines   int
	release int64
}

// failure is what is known of the fleet's last rollout elsewhere.
func (l *logs) failure(c *cobra.Command, f *fleetFlags) error {
	o, err := f.operator(c.Context(), screenOf(c, false))
	if err != nil {
		return fmt.Errorf("this is no instance (there is no %s), and of the whole fleet only the last rollout's failure is known: %w", l.dirs.State, err)
	}
	status, err := o.Status(c.Context())
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if status.Rollout == nil || status.Rollout.Failure == nil {
		fmt.Fprintln(out, "no instance failed in the last rollout; run bootagent logs on an instance for what its app prints")
		return nil
	}
	failed := status.Rollout.Failure
	fmt.Fprintln(out, safe(fmt.Sprintf("%s failed on %s: %s", status.Rollout.Release, failed.Instance, failed.Cause)))
	return nil
}

// read gives the last lines.
func (l *logs) read(ctx context.Context, what string) ([]string, error) {
	if what != "app" {
		return l.file(what)
	}
	var status agent.Status
	if err := local.Get(ctx, l.socket, &status); err != nil {
		return nil, err
	}
	if l.release == 0 {
		l.release = status.InService.Number
	}
	if l.release == 0 {
		return nil, errors.New("nothing serves on this instance: give --release, or look at bootagent logs build")
	}
	units := fmt.Sprintf("bootagent-%s-%d-*", status.App, l.release)
	files, err := filepath.Glob(filepath.Join(l.dirs.State, "logs", units+".log"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 { // the journal has it
		return l.journal(ctx, units)
	}
	var all []string
	for _, file := range files {
		lines, err := tail(file, l.lines)
		if err != nil {
			return nil, err
		}
		if len(files) > 1 {
			all = append(all, "==> "+strings.TrimSuffix(filepath.Base(file), ".log"))
		}
		all = append(all, lines...)
	}
	return all, nil
}

func (l *logs) journal(ctx context.Context, units string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "journalctl", "--quiet", "--no-pager", "--all", "--output=short", "--lines="+strconv.Itoa(l.lines), "--unit="+units).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("read the journal of %s: %w: %s", units, err, strings.TrimSpace(string(out)))
	}
	text := strings.TrimRight(string(out), "\n")
	if text == "" {
		return nil, fmt.Errorf("the journal has nothing of %s on this instance; who is not root may need the group systemd-journal", units)
	}
	return strings.Split(text, "\n"), nil
}

// file is the log of a build or of a release task: that of a release, or the newest.
func (l *logs) file(what string) ([]string, error) {
	const suffix = ".log"
	dir := filepath.Join(l.dirs.State, what+"s")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	newest := int64(0)
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		n, err := strconv.ParseInt(name, 10, 64)
		if ok && err == nil && (l.release == 0 && n > newest || n == l.release) {
			newest = n
		}
	}
	if newest == 0 {
		of := ""
		if l.release > 0 {
			of = fmt.Sprintf(" of release %d", l.release)
		}
		return nil, fmt.Errorf("there is no %s log%s in %s: releases without one have none, and the last 20 are kept", what, of, dir)
	}
	return tail(filepath.Join(dir, strconv.FormatInt(newest, 10)+suffix), l.lines)
}

// tail is the last lines of a file, which is bounded by who writes it.
func tail(path string, n int) ([]string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("only root may read %s: try sudo (%w)", path, err)
	}
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return slices.Clone(lines[max(len(lines)-n, 0):]), nil
}
