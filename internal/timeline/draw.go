package timeline

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const width = 40 // columns of the bars

// Draw draws the spans as bars, a block a release, each on its own scale: what
// stands above each other in a block went on at the same time. A span that
// goes on ends in ">", one that failed says why. Below a release stands its critical path.
func Draw(out io.Writer, spans []Span, now time.Time) {
	for _, block := range blocks(spans) {
		begin, end := block[0].Start, block[0].Start
		for _, s := range block {
			if s.Start.Before(begin) {
				begin = s.Start
			}
			if e := s.end(now); e.After(end) {
				end = e
			}
		}
		title := "instance"
		if block[0].Release != 0 {
			title = fmt.Sprintf("release %d", block[0].Release)
		}
		whole := end.Sub(begin)
		fmt.Fprintf(out, "%s, from %s, %s in all\n", title, begin.Local().Format(time.TimeOnly), seconds(whole))
		for _, s := range block {
			fmt.Fprintf(out, "  %-10s %8s  %s\n", s.Phase, seconds(s.Duration(now)), bar(s, begin, whole, now))
		}
		if release := block[0].Release; release != 0 {
			if path := Path(spans, release, now); len(path) > 1 {
				fmt.Fprintf(out, "  %s\n", tell(path, now))
			}
		}
	}
}

// blocks groups spans by release, in order of their first.
func blocks(spans []Span) [][]Span {
	index := map[int64]int{}
	var out [][]Span
	for _, s := range spans {
		i, known := index[s.Release]
		if !known {
			i = len(out)
			index[s.Release] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], s)
	}
	return out
}

func bar(s Span, begin time.Time, whole time.Duration, now time.Time) string {
	at := func(t time.Time) int {
		if whole <= 0 {
			return 0
		}
		return int(int64(width) * int64(t.Sub(begin)) / int64(whole))
	}
	from := min(at(s.Start), width-1)
	to := max(at(s.end(now)), from+1)
	line := strings.Repeat(" ", from) + strings.Repeat("█", to-from)
	if s.End.IsZero() {
		line += ">"
	}
	if s.Error != "" {
		first, _, _ := strings.Cut(s.Error, "\n")
		if runes := []rune(first); len(runes) > 100 {
			first = string(runes[:100]) + "…"
		}
		line += "  " + first
	}
	return line
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
