package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/trial"
)

func tryCommand() *cobra.Command {
	var o tryOptions
	c := &cobra.Command{
		Use:   "try [DIR]",
		Short: "Deploy the git repository in DIR (default: here) to a fleet on this laptop",
		Long: "try starts a region on this laptop, with an Auto Scaling group of real bootagent processes and a load balancer\n" +
			"in front of them, and serves DIR's committed HEAD. It needs git, no root and no AWS account, runs until it is\n" +
			"interrupted, and leaves nothing behind. What runs is not walled off: builds and the app run as you.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.dir = "."
			if len(args) > 0 {
				o.dir = args[0]
			}
			return o.run(c.Context(), c.OutOrStdout())
		},
	}
	c.Flags().IntVar(&o.instances, "instances", 3, "how many instances")
	c.Flags().StringVar(&o.listen, "listen", "127.0.0.1:8000", "where the balancer listens")
	c.Flags().BoolVar(&o.log, "log", false, "show the agents' logs")
	return c
}

type tryOptions struct {
	dir       string
	instances int
	listen    string
	log       bool
}

func (o tryOptions) run(ctx context.Context, stdout io.Writer) (err error) {
	if o.instances < 1 || o.instances > 20 {
		return &usageError{fmt.Errorf("--instances is %d, and a laptop takes 1 to 20", o.instances)}
	}
	if _, err := trial.ListenPort(o.listen); err != nil {
		return &usageError{fmt.Errorf("--listen: %w", err)}
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	sha, branch, err := trial.Head(ctx, dir)
	if err != nil {
		return &usageError{err}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the bootagent program: %w", err)
	}
	out := &lines{out: stdout}
	options := trial.Options{
		Agent: self, Repository: dir, App: trial.AppName(filepath.Base(dir)), Instances: o.instances, Listen: o.listen,
		Check: checkOf(dir),
	}
	options.Output = func(id string) io.Writer { return &prefixed{out: out, prefix: short(id) + "  ", all: o.log} }
	t, err := trial.Start(ctx, options)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() {
		out.say("ending the fleet …")
		if closed := t.Close(); closed != nil {
			err = errors.Join(err, closed)
			return
		}
		out.say("everything is gone: no process, no file")
	}()
	if _, err := t.Put(ctx, sha); err != nil {
		return err
	}
	if err := t.Launch(ctx); err != nil {
		return err
	}
	o.explain(out, t, sha, branch)
	t.Watch(ctx, func(id string, s agent.Status) { out.say("%s", news(id, s)) })
	return nil
}

// explain is the first screen.
func (o tryOptions) explain(out *lines, t *trial.Trial, sha, branch string) {
	if branch == "" {
		branch = "<ref>"
	}
	out.say("%s at %s: %d instances behind %s", t.App, sha[:12], o.instances, t.URL())
	out.say("")
	out.say("In another terminal, with bootagent and with the stock AWS CLI:")
	out.say("")
	for _, variable := range t.Environment() {
		out.say("  export %s", variable)
	}
	out.say("")
	out.say("  # Only what is committed is deployed. A branch, a tag or a full SHA is a release:")
	out.say("  bootagent deploy %s", branch)
	out.say("  %s", t.PutCommand(branch))
	out.say("")
	out.say("A laptop is patient for less long than AWS: the deregistration delay is %s instead of 300s, drain_min %s instead of 30s,", trial.Delay, trial.DrainMin)
	out.say("health checks come every %s instead of 30s. Ctrl-C ends everything.", trial.HealthInterval)
	out.say("")
}

// checkOf is how the balancer checks the app: as its recipe says, where it says.
func checkOf(dir string) elbv2.HealthCheck {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return elbv2.HealthCheck{Protocol: "TCP"} // a bare repository, say
	}
	defer func() { _ = root.Close() }()
	r, err := recipe.Load(root.FS(), nil)
	if err != nil || r.Health.Path == "" {
		return elbv2.HealthCheck{Protocol: "TCP"}
	}
	return elbv2.HealthCheck{Path: r.Health.Path, Matcher: fmt.Sprintf("%d-%d", max(200, r.Health.Statuses.Min), min(499, r.Health.Statuses.Max))}
}

// news is what a person wants to know of a status, in one line.
func news(id string, s agent.Status) string {
	text := short(id) + "  "
	switch {
	case !s.Deploying.IsZero() && !s.InService.IsZero():
		text += fmt.Sprintf("%s: %s; %s serves on port %d", s.Deploying, s.State, s.InService, s.Port)
	case !s.Deploying.IsZero():
		text += fmt.Sprintf("%s: %s", s.Deploying, s.State)
	case !s.InService.IsZero():
		text += fmt.Sprintf("%s serves on port %d", s.InService, s.Port)
		if s.State == "reverted" {
			text += "; " + s.Newest.String() + " failed and was reverted"
		}
	default:
		text += s.State
	}
	for _, f := range s.Failed {
		if f.Release.Number == s.Newest.Number {
			text += "\n  " + f.Reason
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(s.Problems)) {
		text += "\n  " + subject + ": " + s.Problems[subject]
	}
	return strings.ReplaceAll(text, "\n", "\n        ")
}

// short is enough of an instance's id to tell a laptop's fleet apart.
func short(id string) string { return "i-…" + id[max(0, len(id)-4):] }

// lines lets several goroutines print whole lines.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lines) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}

// prefixed puts an instance's name before its lines. Where not all are to be
// shown, it shows why an agent ended: such an instance has no status to tell.
type prefixed struct {
	out    *lines
	prefix string
	all    bool
	rest   string
	last   string
}

func (p *prefixed) Write(data []byte) (int, error) {
	p.rest += string(data)
	for {
		line, rest, whole := strings.Cut(p.rest, "\n")
		if !whole {
			return len(data), nil
		}
		p.rest = rest
		if p.all || (strings.HasPrefix(line, "bootagent: ") && line != p.last) {
			p.out.say("%s%s", p.prefix, line)
			p.last = line
		}
	}
}
