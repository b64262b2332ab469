package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/deploy/dependencies"
	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/deploy/releases"
	"github.com/bootagent/bootagent/internal/unit"
)

// Source is where revisions come from (deploy/source). An error with a method Revision() bool that says true lies in
// the revision.
type Source interface {
	// Resolve gives the full SHA of a ref.
	Resolve(ctx context.Context, ref string) (string, error)
	// Fetch writes the tree of a commit into an empty directory.
	Fetch(ctx context.Context, sha, dir string) error
}

// Runner is the part of unit.Runner that preparing needs.
type Runner interface {
	List(ctx context.Context) ([]unit.Status, error)
	Run(ctx context.Context, s unit.Spec, out io.Writer) error
}

// Options is what a Machine needs; what is said to have a default may be left out.
type Options struct {
	App, Env   string
	InstanceID string
	// StateDir is where releases and builds' logs are; it belongs to one agent.
	StateDir string
	Source   Source
	Runner   Runner
	// Secrets is where builds' secrets come from; nil is none, and then a recipe that names one is refused. SecretsPath is
	// the path of their parameters, for what is said of them.
	Secrets     Secrets
	SecretsPath string
	// Inline is the configuration's recipe for commits that have none; nil is none.
	Inline *recipe.Recipe
	// Subdirectory is where in the repository the app is; "" is its top.
	Subdirectory string
	// KeepReleases is how many releases that were in service are kept; 5 by default.
	KeepReleases int
	// FreeSpace is how many bytes must be free before a release is fetched; 0 switches the check off.
	FreeSpace int64
	// Users run builds and the app; nil is the agent's own user for both, and no wall around a build.
	Users *Users
	// Cache is where built releases are kept for other instances; nil is nowhere.
	Cache *artifact.Cache
	// Authentic says whether a commit is one that may run here (source.verify), for a release that comes from the cache; nil asks nobody. Its
	// error is that of a fetch which verifies: one with a method Revision() bool that says true lies in the revision.
	Authentic func(ctx context.Context, sha string) error
	// Etc is where os-release is; "/etc" by default.
	Etc string
	// Path is the builds' PATH; Debian's for a system service by default.
	Path   string
	Logger *zap.Logger      // nothing by default
	Now    func() time.Time // time.Now by default
}

const (
	defaultKeep = 5
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Machine brings releases onto this machine's disk. It is safe for concurrent use.
type Machine struct {
	Options
	log     *zap.Logger
	caching caching
	carried carried
	store   *releases.Store
	turn    chan struct{} // held by the one Prepare at work
	// disk is held while releases are removed or promoted: never for long, so that one can be promoted while another
	// is built and flushed.
	disk   sync.Mutex
	warned map[int64]bool // damaged releases that were told of; guarded by disk
}

// New opens the machine's releases, and removes what killed attempts left behind.
func New(o Options) (*Machine, error) {
	switch {
	case o.App == "" || o.Env == "" || o.InstanceID == "":
		return nil, errors.New("prepare releases: the app, the env and the instance's id are needed")
	case o.StateDir == "" || o.Source == nil || o.Runner == nil:
		return nil, errors.New("prepare releases: a state directory, a source and a runner are needed")
	case !filepath.IsLocal(filepath.Join(".", o.Subdirectory)):
		return nil, fmt.Errorf("prepare releases: the subdirectory %q is not inside of a repository", o.Subdirectory)
	}
	if o.KeepReleases < 1 {
		o.KeepReleases = defaultKeep
	}
	if o.Path == "" {
		o.Path = defaultPath
	}
	if o.Etc == "" {
		o.Etc = "/etc"
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Subdirectory != "" {
		o.Subdirectory = filepath.Clean(o.Subdirectory)
	}
	var err error
	if o.StateDir, err = filepath.Abs(o.StateDir); err != nil {
		return nil, fmt.Errorf("prepare releases: %w", err)
	}
	store, err := releases.Open(o.StateDir)
	if err != nil {
		return nil, fmt.Errorf("prepare releases: %w", err)
	}
	kept, err := dependencies.Open(filepath.Join(o.StateDir, DependenciesName))
	if err != nil {
		return nil, fmt.Errorf("prepare releases: %w", err)
	}
	return &Machine{Options: o, log: o.Logger, store: store, carried: carried{kept: kept}, turn: make(chan struct{}, 1), warned: map[int64]bool{}}, nil
}

// Resolve finds the full SHA of a ref.
func (m *Machine) Resolve(ctx context.Context, ref string) (string, error) {
	sha, err := m.Source.Resolve(ctx, ref)
	return sha, blame("resolve", err)
}

// Prepared lists the complete releases on disk, by number.
func (m *Machine) Prepared(context.Context) ([]Prepared, error) {
	m.disk.Lock()
	defer m.disk.Unlock()
	list, err := m.list()
	if err != nil {
		return nil, err
	}
	out := make([]Prepared, 0, len(list))
	for _, r := range list {
		out = append(out, m.prepared(r))
	}
	return out, nil
}

// Promote lets `current` name this release and removes what retention no longer keeps. It is idempotent.
func (m *Machine) Promote(ctx context.Context, number int64) error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if err := m.store.Promote(number, m.Now()); err != nil {
		return err
	}
	m.retain(ctx, m.KeepReleases)
	return nil
}

// list gives the complete releases, and tells once of each damaged one.
func (m *Machine) list() ([]releases.Release, error) {
	list, damaged, err := m.store.List()
	for _, d := range damaged {
		if !m.warned[d.Number] {
			m.warned[d.Number] = true
			m.log.Warn("a release on disk can't be used, and is prepared anew if it is needed", zap.Int64("release", d.Number), zap.Error(d.Err))
		}
	}
	return list, err
}

// retain removes the releases that retention does not keep. What can't be removed is logged and no error: it stands in
// nobody's way until space runs out, and then Prepare says so.
func (m *Machine) retain(ctx context.Context, keep int) {
	list, err := m.list()
	if err == nil {
		var current int64
		var inUse func(int64) bool
		if current, err = m.store.Current(); err == nil {
			if inUse, err = m.inUse(ctx); err == nil {
				for _, number := range releases.Expired(list, current, inUse, keep) {
					if e := m.store.Remove(number); e != nil {
						err = errors.Join(err, e)
						continue
					}
					m.log.Info("removed an old release", zap.Int64("release", number))
				}
			}
		}
	}
	if err != nil {
		m.log.Warn("old releases stay on disk", zap.Error(err))
	}
}

// inUse says which releases have a unit, running or exited: those are never removed.
func (m *Machine) inUse(ctx context.Context) (func(int64) bool, error) {
	units, err := m.Runner.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask which releases are in use: %w", err)
	}
	used := map[int64]bool{}
	for _, u := range units {
		used[u.Release.Number] = true
	}
	return func(number int64) bool { return used[number] }, nil
}

func (m *Machine) prepared(r releases.Release) Prepared {
	return Prepared{Release: r.Release, Dir: r.Dir, Recipe: r.Recipe, Prepared: r.Prepared, Shared: m.sharedDirs(r.Recipe)}
}

// blame marks an error of the source that lies in the revision as a RevisionError.
func blame(phase string, err error) error {
	var marked interface {
		error
		Revision() bool
	}
	if errors.As(err, &marked) && marked.Revision() {
		return &RevisionError{Phase: phase, Err: err}
	}
	return err
}

// openApp opens the app's directory in a fetched tree, from which no link leads out.
func openApp(tree, subdirectory string) (*os.Root, error) {
	root, err := os.OpenRoot(tree)
	if err != nil || subdirectory == "" {
		return root, err
	}
	defer func() { _ = root.Close() }()
	app, err := root.OpenRoot(subdirectory)
	if err != nil {
		return nil, fmt.Errorf("source.subdirectory: %w", err)
	}
	return app, nil
}
