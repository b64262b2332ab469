package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/bootagent/bootagent/internal/operator"
	"github.com/bootagent/bootagent/internal/unit"
)

// screenOn shows progress on out: a terminal gets a block that is drawn anew, everything else a line whenever something changes.
func screenOn(out io.Writer) operator.Screen {
	if columns, rows := terminalSize(out); columns > 0 {
		return &drawing{out: out, columns: columns, rows: rows}
	}
	return &plain{out: out}
}

// terminalSize is how many columns and rows out has, 0 where it is no terminal.
func terminalSize(out io.Writer) (columns, rows int) {
	file, ok := out.(*os.File)
	if !ok {
		return 0, 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return max(int(size.Col), 40), max(int(size.Row), 10)
}

// plain writes lines.
type plain struct {
	out  io.Writer
	last string
}

func (p *plain) Say(line string) { fmt.Fprintln(p.out, safe(line)) }

func (p *plain) Show(lines []string) {
	if len(lines) > 0 && lines[0] != p.last {
		p.last = lines[0]
		p.Say(lines[0])
	}
}

// drawing is a terminal, on which the present state takes the place of the last one.
type drawing struct {
	out           io.Writer
	columns, rows int
	drawn         int // lines that stand there and go with the next
}

func (d *drawing) Say(line string) {
	d.wipe()
	fmt.Fprintln(d.out, safe(line))
}

func (d *drawing) Show(lines []string) {
	var b strings.Builder
	all := strings.Split(safe(strings.Join(lines, "\n")), "\n")
	if most := d.rows - 2; len(all) > most { // what scrolled away could not be drawn anew
		all = append(all[:most:most], fmt.Sprintf("… and %d more lines", len(all)-most))
	}
	for _, line := range all {
		fmt.Fprintln(&b, cutTo(line, d.columns-1)) // a line that wraps would be two
	}
	d.wipe()
	fmt.Fprint(d.out, b.String())
	d.drawn = len(all)
}

// wipe takes away what was drawn: up so many lines, and everything from there on.
func (d *drawing) wipe() {
	if d.drawn > 0 {
		fmt.Fprintf(d.out, "\x1b[%dA\x1b[J", d.drawn)
		d.drawn = 0
	}
}

// maxShown is how many bytes of a line are shown.
const maxShown = 16 << 10

// safe keeps what others wrote, in records and in parameters, from being acted on by a terminal.
func safe(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = unit.CleanLine(line, maxShown)
	}
	return strings.Join(lines, "\n")
}

func cutTo(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}
