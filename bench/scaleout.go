package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/aws/s3"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/region"
)

// The lives in which this program only packs a directory into the cache ("DIR SCRATCH"), saying the artifact's name, and only does what an
// instance does that finds it there ("DIR").
const (
	modePack   = "pack"
	modeUnpack = "unpack"
)

// The bucket of all caches here, and what is before the names of objects.
const (
	bucket = "artifacts"
	prefix = "built"
)

// aimScaleOut is how much longer than the floor's a fetched release should take at most.
const aimScaleOut = 1.3

func artifacts(ctx context.Context, scratch string) (*artifact.Cache, artifact.Wanted, error) {
	inputs, err := artifact.Machine("/etc", os.Getenv("PATH"))
	if err != nil {
		return nil, artifact.Wanted{}, err
	}
	aws, err := session.Load(ctx, session.Options{})
	if err != nil {
		return nil, artifact.Wanted{}, err
	}
	cache := artifact.New(artifact.Options{Store: s3.Open(aws, bucket, prefix), App: "bench", Env: "bench", Scratch: scratch})
	return cache, artifact.Wanted{Revision: strings.Repeat("0", 40), Inputs: inputs, Home: "/nowhere"}, nil
}

// packHere is what an instance does that has built a release.
func packHere(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("pack wants a directory and one for scratch")
	}
	cache, wanted, err := artifacts(ctx, args[1])
	if err != nil {
		return err
	}
	built := artifact.Built{Instance: "i-0123456789abcdef0", Release: 1, Revision: wanted.Revision, At: time.Unix(1_700_000_000, 0)}
	kept, err := cache.Keep(ctx, wanted, built, artifact.Packing{Dir: args[0]}, nil)
	if err != nil {
		return err
	}
	fmt.Println(kept.Name)
	return nil
}

// unpackHere is what an instance does for a release that another one has built.
func unpackHere(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("unpack wants a directory")
	}
	cache, wanted, err := artifacts(ctx, "")
	if err != nil {
		return err
	}
	found, err := cache.Find(ctx, wanted)
	if err != nil {
		return err
	}
	return cache.Unpack(ctx, found, args[0])
}

// fetcher is one way to bring the archive's tree into dir, which does not exist yet.
type fetcher struct {
	name string
	args func(dir string) []string
	// lacks says what keeps it from being measured, "" for nothing.
	lacks string
}

// fetchers are ours, what nobody can do faster who has to decompress, and what scripts do. Shells get paths by $0 and on.
func (b *bench) fetchers(r *region.Region, name, cli string) []fetcher {
	key := prefix + "/" + name + ".tar.zst"
	url, object := r.Endpoint()+"/"+bucket+"/"+key, "s3://"+bucket+"/"+key
	zstd, aws := "", ""
	if _, err := exec.LookPath("zstd"); err != nil {
		zstd = "zstd is not installed"
		aws = zstd
	}
	if cli == "" {
		aws = "the AWS CLI is not installed"
	}
	shell := func(script string, args ...string) func(dir string) []string {
		return func(dir string) []string {
			return append([]string{"bash", "-euo", "pipefail", "-c", script, dir}, args...)
		}
	}
	return []fetcher{
		{"bootagent", func(dir string) []string { return []string{b.self, modeUnpack, dir} }, ""},
		{"`curl \\| zstd -d \\| tar x`: the floor", shell(`mkdir "$0"
			curl -fsS --aws-sigv4 "aws:amz:$AWS_REGION:s3" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" "$1" | zstd -dc | tar -xf - -C "$0"`, url), zstd},
		{"`aws s3 cp … - \\| zstd -d \\| tar x`", shell(`mkdir "$0"; "$1" s3 cp "$2" - | zstd -dc | tar -xf - -C "$0"`, cli, object), aws},
		{"`aws s3 cp` to a file, `tar x`", shell(`mkdir "$0"; "$1" s3 cp --only-show-errors "$2" "$0.tar.zst"; tar --zstd -xf "$0.tar.zst" -C "$0"`, cli, object), aws},
	}
}

// theFloor is the place of the floor among the fetchers.
const theFloor = 1

// scaleOut measures fetching and unpacking what another instance has built.
func (b *bench) scaleOut(ctx context.Context, s *section) (err error) {
	cli, err := awsCLI(b.aws)
	if err != nil && b.aws != "" {
		return err
	}
	root := filepath.Join(b.dir, "scale-out")
	tree := filepath.Join(root, "tree")
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	b.say("  making a release of the three repositories' trees and a program")
	if err := b.makeRelease(ctx, tree); err != nil {
		return err
	}
	want, err := listDir(tree)
	if err != nil {
		return err
	}
	r, err := region.New(ctx, region.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.S3.MakeBucket(bucket); err != nil {
		return err
	}
	env := append(r.Environment(), "PATH="+os.Getenv("PATH"), "TMPDIR="+b.dir, "HOME="+os.DevNull, "LC_ALL=C",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	b.say("  packing it, %d files", len(want))
	name, packing, err := b.pack(ctx, env, tree, root)
	if err != nil {
		return err
	}
	floor, err := b.floor(ctx)
	if err != nil {
		return err
	}
	all := b.fetchers(r, name, cli)
	spent, err := b.fetchInTurns(ctx, all, env, filepath.Join(root, "fetched"), want)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, e := range want {
		size += e.size
	}
	s.intro = fmt.Sprintf("The trees of the three repositories and a program, %d files, %s, as one artifact in the region's S3 on this machine, which is a process of "+
		"its own. Both sides share the processors.", len(want), megabytes(size))
	tabulate(s, all, spent, floor)
	s.note("bootagent finds the artifact, fetches it in pieces, verifies each before it is decompressed, and checks every name; the others take the same archive, and take it as it is. " +
		"On an instance one record of the fleet's table is read besides, and the commit's signature checked where that is asked for, both not measured here.")
	s.note("In each turn every tree was compared with what was packed: the same to the byte, the mode and the link.")
	s.note("Of a pipe the peak is that of its largest process, not of all together. A peak of up to %s is not seen: that is what measures.", megabytes(floor))
	s.note("Packing it and putting it there took %s of processor time, once.", seconds(packing))
	return nil
}

// makeRelease makes what is packed: much source, as releases in interpreted languages have, and what a compiler makes.
func (b *bench) makeRelease(ctx context.Context, tree string) error {
	for n, shape := range shapes() {
		repository, dir := fmt.Sprintf("%s.%d.git", tree, n), filepath.Join(tree, fmt.Sprintf("part%d", n))
		if err := importRepository(ctx, shape, repository); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if _, err := git(ctx, repository, "--work-tree", dir, "checkout", "--quiet", "--force", "main"); err != nil {
			return err
		}
		if err := os.RemoveAll(repository); err != nil {
			return err
		}
	}
	program, err := os.ReadFile(b.agent)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(tree, "program"), program, 0o755)
}

// pack packs the release in a process of its own, and gives its name and what processor time that took.
func (b *bench) pack(ctx context.Context, env []string, tree, scratch string) (name string, took time.Duration, err error) {
	command := exec.CommandContext(ctx, b.self, modePack, tree, scratch)
	command.Env = env
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", 0, fmt.Errorf("pack the release: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), command.ProcessState.UserTime() + command.ProcessState.SystemTime(), nil
}

// fetchInTurns measures all that can be, and gives what each took in each turn.
func (b *bench) fetchInTurns(ctx context.Context, all []fetcher, env []string, dir string, want map[string]entry) ([][]usage, error) {
	spent := make([][]usage, len(all))
	for turn := range b.turns {
		for i, f := range all {
			if f.lacks != "" {
				continue
			}
			u, err := b.measure(ctx, b.dir, env, f.args(dir)...)
			if err == nil {
				err = sameTree(dir, want)
			}
			if err := errors.Join(err, os.RemoveAll(dir), os.RemoveAll(dir+".tar.zst")); err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			spent[i] = append(spent[i], u)
			b.say("  turn %d of %d, %-38s %s", turn+1, b.turns, f.name, seconds(u.Wall))
		}
	}
	return spent, nil
}

// tabulate writes the table, with what could not be measured in words.
func tabulate(s *section, all []fetcher, spent [][]usage, floor int64) {
	s.table.head = []string{"", "wall", "CPU", "peak memory", "wall : floor", "aim"}
	fastest := summary(spent[theFloor]).Wall
	for i, f := range all {
		if f.lacks != "" {
			s.table.add(f.name, "not measured: "+f.lacks, "", "", "", "")
			continue
		}
		u, goal := summary(spent[i]), ""
		if i == 0 && fastest > 0 {
			if goal = fmt.Sprintf("at most %.1f×", aimScaleOut); float64(u.Wall) > aimScaleOut*float64(fastest) {
				goal += ": **missed**"
			}
		}
		s.table.add(f.name, seconds(u.Wall), seconds(u.CPU), peak(u.Peak, floor), ratio(u.Wall, fastest), goal)
	}
}
