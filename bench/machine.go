package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// fact is a line about the machine.
type fact struct{ name, value string }

// describe says on what and with what a run was made. What can't be found out is said to be unknown.
func describe(ctx context.Context, aws string) []fact {
	facts := []fact{
		{"date", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"bootagent", output(ctx, "git", "describe", "--tags", "--always", "--dirty")},
		{"machine", count(runtime.NumCPU(), "core") + " (" + field("/proc/cpuinfo", "model name") + "), " + field("/proc/meminfo", "MemTotal") + " of memory"},
		{"kernel", file("/proc/sys/kernel/osrelease")},
		{"load before the run", file("/proc/loadavg")},
		{"go", runtime.Version()},
		{"git", output(ctx, "git", "--version")},
		{"tar", output(ctx, "tar", "--version")},
		{"zstd", output(ctx, "zstd", "--version")},
	}
	cli := "not found"
	if path, err := awsCLI(aws); err == nil {
		cli = output(ctx, path, "--version")
	}
	return append(facts, fact{"aws", cli})
}

// busy says so when more than half of the processors had other work in the last minute: from /proc/loadavg.
func busy(loadavg string, cores int) string {
	first, _, _ := strings.Cut(loadavg, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil || load <= float64(cores)/2 {
		return ""
	}
	return fmt.Sprintf("a load of %.1f on %s", load, count(cores, "core"))
}

const unknown = "unknown"

// output is the first line that a program prints.
func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return unknown
	}
	return strings.Trim(line, "* ")
}

func file(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(data))
}

// field is a value in a file of lines "name: value".
func field(path, name string) string {
	for line := range strings.Lines(file(path)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}
