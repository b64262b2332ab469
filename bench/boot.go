package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/internal/timeline"
)

// phase is one part of a boot, by the name that the agent's timeline or the script's log gives it.
type phase struct {
	name string
	took time.Duration
}

// booted is one measured boot.
type booted struct {
	whole, build, start, balancer, cpu time.Duration
	phases                             []phase
}

// own is what is left of a boot when what the app and the balancer take is left out: the deployment's own overhead. What takes the place of a
// build, the fetching of one from the cache, is in it.
func (b booted) own() time.Duration { return b.whole - b.build - b.start - b.balancer }

// boot measures whole boots, ours and the script's, in turns.
func (b *bench) boot(ctx context.Context, s *section) error {
	cli, err := awsCLI(b.aws)
	if err != nil {
		return err
	}
	tools := filepath.Join(b.dir, "tools")
	if err := errors.Join(os.Mkdir(tools, 0o755), os.Symlink(cli, filepath.Join(tools, "aws"))); err != nil {
		return err
	}
	script, err := filepath.Abs("bench/baseline/user-data.sh")
	if err != nil {
		return err
	}
	a, err := b.app(ctx)
	if err != nil {
		return err
	}
	contenders := []struct {
		name string
		boot func() (booted, error)
	}{
		{"bootagent, cold", func() (booted, error) { return b.bootAgent(ctx, a, false) }},
		{"bootagent, warm", func() (booted, error) { return b.bootAgent(ctx, a, true) }},
		{"user-data script", func() (booted, error) { return b.bootScript(ctx, a, script, tools) }},
	}
	all := make([][]booted, len(contenders))
	for turn := range b.turns {
		for n, c := range contenders {
			one, err := c.boot()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			one.start = a.start
			all[n] = append(all[n], one)
			b.say("  turn %d of %d, %-16s %s, of that its own %s", turn+1, b.turns, c.name, seconds(one.whole), seconds(one.own()))
		}
	}
	s.intro = "One more instance of a group launches and boots `examples/hello` at the same commit, from the same git server, in the same region on this machine. " +
		"The end is the group's and the balancer's: in service, and healthy."
	s.table.head = []string{"", "whole", "build", "app start", "balancer", "own overhead", "own : script's", "CPU"}
	rival := medianOf(all[len(all)-1], booted.own)
	for n, c := range contenders {
		s.table.add(c.name, seconds(medianOf(all[n], func(b booted) time.Duration { return b.whole })),
			seconds(medianOf(all[n], func(b booted) time.Duration { return b.build })), seconds(a.start),
			seconds(medianOf(all[n], func(b booted) time.Duration { return b.balancer })), seconds(medianOf(all[n], booted.own)),
			ratio(medianOf(all[n], booted.own), rival), seconds(medianOf(all[n], func(b booted) time.Duration { return b.cpu })))
		s.note("Where the time goes, %s: %s.", c.name, wherever(all[n]))
	}
	s.note("Warm is a boot in a group that has an artifact cache, in which another instance has put what it built: there is no build. What replaces it, `cache`, is own overhead.")
	s.note("Own overhead = whole − build − app start − balancer, in each boot; it aims at half of the script's at most. App start is that of the app by itself, until its " +
		"first answer; balancer is from the arrival of the registration until the region finds the target healthy. The builds share one cache of Go's; the agent's runs at low priority.")
	s.note("CPU is that of the agent or the script with all that they ran, the build and, for the script, four calls or more of the AWS CLI; not the app.")
	s.note("[The script](baseline/user-data.sh) does less: it reads no environment of the app's from Parameter Store, bounds and checks nothing that it fetches, and " +
		"keeps no hook open by heartbeats.")
	return nil
}

// bootAgent boots one instance beside one that serves already; warm, with what that one has built in the artifact cache.
func (b *bench) bootAgent(ctx context.Context, a *app, warm bool) (one booted, err error) {
	f, err := b.newFleet(ctx, a, group{size: 1, cached: warm})
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	l, err := f.launch(ctx)
	if err != nil {
		return one, err
	}
	if one.cpu, err = f.spentBy(l.ID); err != nil {
		return one, err
	}
	status, ok := l.Status(ctx)
	if !ok {
		return one, fmt.Errorf("the agent of %s does not answer", l.ID)
	}
	one.whole, one.balancer, one.phases = l.whole, l.balancer, spans(status.Timeline)
	one.phases = append(one.phases, phase{"outside of them", one.whole - covered(status.Timeline)})
	for _, p := range one.phases {
		if p.name == "build" {
			one.build += p.took
		}
	}
	if built := slices.ContainsFunc(one.phases, func(p phase) bool { return p.name == "build" }); built == warm {
		return one, fmt.Errorf("instance %s was to boot with what is in the cache: %t, and to build: %t; its phases are %v", l.ID, warm, !warm, one.phases)
	}
	return one, nil
}

// spans are the phases that a timeline tells of, those of one name together.
func spans(all []timeline.Span) (out []phase) {
	for _, s := range all {
		if s.End.IsZero() {
			continue
		}
		took := s.End.Sub(s.Start)
		if n := slices.IndexFunc(out, func(p phase) bool { return p.name == s.Phase }); n >= 0 {
			out[n].took += took
			continue
		}
		out = append(out, phase{s.Phase, took})
	}
	return out
}

// covered is for how long at least one phase went on.
func covered(all []timeline.Span) (sum time.Duration) {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b timeline.Span) int { return a.Start.Compare(b.Start) })
	var until time.Time
	for _, s := range sorted {
		from := s.Start
		if from.Before(until) {
			from = until
		}
		if s.End.After(from) {
			sum += s.End.Sub(from)
			until = s.End
		}
	}
	return sum
}

// spentBy is the processor time of an instance's agent, with the children that it has waited for: builds, not the app.
func (f *fleet) spentBy(id string) (time.Duration, error) {
	m, ok := f.Machines.Machine(id)
	if !ok {
		return 0, fmt.Errorf("instance %s does not run any more", id)
	}
	return processorTime(m.AgentPID(), true)
}

// processorTime reads /proc/PID/stat: user and system time in hundredths of a second, of the children too if asked.
func processorTime(pid int, children bool) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; the state comes after it. proc_pid_stat(5)
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	last := 13
	if children {
		last = 15
	}
	var ticks int64
	for _, field := range fields[11:last] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// bootScript boots one instance by the script.
func (b *bench) bootScript(ctx context.Context, a *app, script, tools string) (one booted, err error) {
	f, err := b.newFleet(ctx, a, group{instead: b.baseline(a, script, tools)})
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	l, err := f.launch(ctx)
	if err != nil {
		return one, err
	}
	var spent usage
	if err := f.until(ctx, look, "the script is done", func() bool {
		for line := range strings.Lines(f.said(l.ID)) {
			if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &spent) == nil {
				return true
			}
		}
		return false
	}); err != nil {
		return one, err
	}
	one.whole, one.balancer, one.cpu = l.whole, l.balancer, spent.CPU
	if one.phases, err = marks(f.said(l.ID)); err != nil {
		return one, err
	}
	for _, p := range one.phases {
		if p.name == "build" {
			one.build = p.took
		}
	}
	return one, nil
}

// marks reads the script's log: a line "user-data: SECONDS PHASE" when a phase begins, and a last one that is "done".
func marks(log string) (out []phase, err error) {
	var since float64
	name := ""
	for line := range strings.Lines(log) {
		mark, ok := strings.CutPrefix(strings.TrimSpace(line), "user-data: ")
		if !ok {
			continue
		}
		at, next, _ := strings.Cut(mark, " ")
		now, err := strconv.ParseFloat(at, 64)
		if err != nil {
			return nil, fmt.Errorf("the script logged %q, which has no time: %w", line, err)
		}
		if name != "" {
			out = append(out, phase{name, time.Duration(math.Round((now-since)*1e6)) * time.Microsecond})
		}
		since, name = now, next
	}
	if name != "done" {
		return nil, fmt.Errorf("the script logged %q last, and not that it is done", name)
	}
	return out, nil
}

// wherever are the medians of each phase.
func wherever(all []booted) string {
	var out []string
	for _, p := range all[0].phases {
		took := medianOf(all, func(b booted) time.Duration {
			for _, other := range b.phases {
				if other.name == p.name {
					return other.took
				}
			}
			return 0
		})
		out = append(out, p.name+" "+seconds(took))
	}
	return strings.Join(out, ", ")
}

// awsCLI finds the AWS CLI: the one that is named, the pinned one of the tests, the one in PATH.
func awsCLI(named string) (string, error) {
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("-aws names no program that can be run: %w", err)
		}
		return filepath.Abs(path)
	}
	if pinned, err := exec.LookPath("./.cache/venv/bin/aws"); err == nil {
		return filepath.Abs(pinned)
	}
	path, err := exec.LookPath("aws")
	if err != nil {
		return "", fmt.Errorf("the script that people write needs the AWS CLI: `make bench` installs one where there is python3 -m venv; or leave the part out with -only: %w", err)
	}
	return path, nil
}
