package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/source"
	"github.com/bootagent/bootagent/internal/gitserver"
)

// The lives in which this program only fetches ("URL SHA DIR"), and only serves ("ROOT").
const (
	modeFetch = "fetch"
	modeServe = "serve"
)

// fetchHere is what an agent does for a checkout.
func fetchHere(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("fetch wants a URL, a SHA and a directory")
	}
	s, err := source.New(source.Config{URL: args[0]})
	if err != nil {
		return err
	}
	return s.Fetch(ctx, args[1], args[2])
}

// serveHere serves the repositories below a directory, says where, and ends with its standard input.
func serveHere(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("serve wants a directory")
	}
	handler, err := gitserver.Handler(args[0], gitserver.Options{AnySHA: true, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + listener.Addr().String())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that is said
	err = server.Close()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// serve starts a git server as a process of its own, so that what it does is not counted as anybody's.
func (b *bench) serve(ctx context.Context, root string) (url string, end func() error, err error) {
	command := exec.CommandContext(ctx, b.self, modeServe, root)
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	end = func() error { return errors.Join(in.Close(), command.Wait()) }
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, fmt.Errorf("start the git server: %w", errors.Join(err, end()))
	}
	return strings.TrimSpace(line), end, nil
}

// contender is one way to bring a commit's tree into dir, which does not exist yet.
type contender struct {
	name string
	args func(r *repository, dir string) []string
	// bare is whether dir holds the tree and nothing else afterwards.
	bare bool
}

// contenders are ours, what a script does, and what nobody can do faster: writing the files. Shells get paths by $0 and on.
func (b *bench) contenders() []contender {
	return []contender{
		{"bootagent", func(r *repository, dir string) []string { return []string{b.self, modeFetch, r.url, r.sha, dir} }, true},
		{"git: init, fetch, checkout", func(r *repository, dir string) []string {
			return []string{"sh", "-ec", `git init -q "$0"; cd "$0"; git fetch -q --depth=1 "$1" "$2"; git checkout -q FETCH_HEAD`, dir, r.url, r.sha}
		}, false},
		{"tar x: the floor", func(r *repository, dir string) []string {
			return []string{"sh", "-ec", `mkdir "$0"; exec tar -xf "$1" -C "$0"`, dir, r.tar()}
		}, true},
	}
}

// tar is where the tip's tree is as an archive.
func (r *repository) tar() string { return r.path + ".tar" }

// checkout measures bringing the tree of a commit onto the disk.
func (b *bench) checkout(ctx context.Context, s *section) (err error) {
	root := filepath.Join(b.dir, "repositories")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	url, end, err := b.serve(ctx, root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	floor, err := b.floor(ctx)
	if err != nil {
		return err
	}
	s.intro = "The tree of one commit, by its SHA, over HTTP from a git server on this machine that is a process of its own. Both sides share the processors."
	s.table.head = []string{"repository", "", "wall", "CPU", "peak memory", "wall : git", "wall : tar"}
	for n, shape := range shapes() {
		if err := b.checkoutOf(ctx, s, shape, fmt.Sprintf("%s/%d.git", root, n), fmt.Sprintf("%s/%d.git", url, n), floor); err != nil {
			return fmt.Errorf("%s: %w", shape.name, err)
		}
	}
	s.note("The repositories are made by the benchmark, the same each time: texts with a history of edits and with near copies, binaries, links, modes.")
	s.note("In each turn our tree was compared with `git ls-tree -r` and its blobs: the same to the byte, the mode and the link.")
	s.note("git leaves its repository beside the tree, ours leaves the tree alone. A peak of up to %s is not seen: that is what measures.", megabytes(floor))
	return nil
}

// checkoutOf measures one repository.
func (b *bench) checkoutOf(ctx context.Context, s *section, shape shape, path, url string, floor int64) error {
	b.say("  making the repository %q", shape.name)
	r, err := makeRepository(ctx, shape, path)
	if err != nil {
		return err
	}
	r.url = url
	if _, err := git(ctx, r.path, "archive", "--format=tar", "--output", r.tar(), r.sha); err != nil {
		return err
	}
	want, err := listTree(ctx, r.path, r.sha)
	if err != nil {
		return err
	}
	all := b.contenders()
	spent := make([][]usage, len(all))
	for turn := range b.turns {
		for i, c := range all {
			dir := filepath.Join(b.dir, "tree")
			u, err := b.measure(ctx, b.dir, gitEnvironment(), c.args(r, dir)...)
			if err == nil && c.bare {
				err = sameTree(dir, want)
			}
			if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			spent[i] = append(spent[i], u)
			b.say("  turn %d of %d, %-26s %s", turn+1, b.turns, c.name, seconds(u.Wall))
		}
	}
	name := fmt.Sprintf("%s (%d files, %s)", shape.name, r.files, megabytes(r.bytes))
	git, tar := summary(spent[1]), summary(spent[2])
	for i, c := range all {
		u := summary(spent[i])
		s.table.add(name, c.name, seconds(u.Wall), seconds(u.CPU), peak(u.Peak, floor), ratio(u.Wall, git.Wall), ratio(u.Wall, tar.Wall))
		name = ""
	}
	return errors.Join(os.RemoveAll(r.path), os.Remove(r.tar()))
}
