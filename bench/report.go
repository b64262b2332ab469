package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// report is what a run has found out.
type report struct {
	machine  []fact
	turns    int
	busy     string // what else the machine did when the run began, "" for next to nothing
	sections []*section
}

// section is one part's.
type section struct {
	title string
	intro string
	table table
	notes []string
	left  []string // what was not measured, and why
}

// table has a head and rows of as many cells.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// note adds a sentence below the table.
func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// notMeasured says loudly that something is missing, and why.
func (s *section) notMeasured(why string) { s.left = append(s.left, why) }

// markdown is the whole report.
func (r report) markdown() string {
	var out strings.Builder
	out.WriteString("# Results\n\nWritten by `make bench`; not to be edited.\n\n")
	if r.turns < enough {
		fmt.Fprintf(&out, "**No result: %s only, where medians of at least %d are asked for.**\n\n", count(r.turns, "turn"), enough)
	}
	if r.busy != "" {
		fmt.Fprintf(&out, "**The machine was busy with other things: %s. Times are too long, most of all those of builds at low priority.**\n\n", r.busy)
	}
	for _, f := range r.machine {
		fmt.Fprintf(&out, "- %s: %s\n", f.name, f.value)
	}
	fmt.Fprintf(&out, "- each measured %s, in turns, all in one run; medians, and of memory the highest\n", count(r.turns, "time"))
	for _, s := range r.sections {
		fmt.Fprintf(&out, "\n## %s\n", s.title)
		if s.intro != "" {
			fmt.Fprintf(&out, "\n%s\n", s.intro)
		}
		s.table.write(&out)
		for _, left := range s.left {
			fmt.Fprintf(&out, "\n**Not measured**: %s.\n", left)
		}
		if len(s.notes) > 0 {
			out.WriteString("\n")
		}
		for _, note := range s.notes {
			fmt.Fprintf(&out, "- %s\n", note)
		}
	}
	return out.String()
}

func (t table) write(out *strings.Builder) {
	if len(t.rows) == 0 {
		return
	}
	out.WriteString("\n| " + strings.Join(t.head, " | ") + " |\n|" + strings.Repeat("---|", len(t.head)) + "\n")
	for _, row := range t.rows {
		out.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
}

// median is the middle one, or between the two in the middle; zero of none.
func median[T time.Duration | int64 | float64](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	default:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
}

// medianOf is the median of something of each.
func medianOf[E any, T time.Duration | int64 | float64](all []E, of func(E) T) T {
	values := make([]T, len(all))
	for i, e := range all {
		values[i] = of(e)
	}
	return median(values)
}

// summary is what is shown of several turns: the median times, the highest peak.
func summary(turns []usage) usage {
	if len(turns) == 0 {
		return usage{}
	}
	return usage{
		Wall: medianOf(turns, func(u usage) time.Duration { return u.Wall }),
		CPU:  medianOf(turns, func(u usage) time.Duration { return u.CPU }),
		Peak: slices.MaxFunc(turns, func(x, y usage) int { return cmp.Compare(x.Peak, y.Peak) }).Peak,
	}
}

// ratio is one over the other, "–" where that means nothing.
func ratio(one, other time.Duration) string {
	if one <= 0 || other <= 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f×", float64(one)/float64(other))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// peak is one of memory, as far as it can be seen above the floor's.
func peak(bytes, floor int64) string {
	if bytes <= floor*11/10 {
		return "< " + megabytes(floor*11/10)
	}
	return megabytes(bytes)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
