package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/internal/model"
)

// ErrMiss says that there is no artifact: whoever asks has to build.
var ErrMiss = errors.New("there is no artifact")

const (
	// lookPatience is how long finding an artifact may take: two or three small requests.
	lookPatience = 15 * time.Second
	// fetchPatience is how long fetching one may take altogether. Then building is the safer way.
	fetchPatience = 5 * time.Minute
	// generationsMost bounds how often an artifact that turned out bad is made anew.
	generationsMost = 20
)

// Options is what a Cache needs. Ledger, Claims, Patience, Limits and Now may be left out.
type Options struct {
	Store Store
	// Ledger is the fleet's record of the right artifacts; nil where there are no records but this instance's own: then who may write the
	// store's objects is trusted.
	Ledger Ledger
	// Claims keeps all but one of the instances that want the same artifact from building it, and Patience is how long; nil lets all build.
	// Instance is this one's id.
	Claims   Claims
	Patience Patience
	Instance string
	// App and Env have objects of their own.
	App, Env string
	Limits   Limits
	// Scratch is a directory for an archive that is on its way into the store.
	Scratch string
	Now     func() time.Time
}

// Cache keeps artifacts in a store. It is safe for concurrent use.
type Cache struct {
	Options

	mu  sync.Mutex
	bad map[string]bool // manifests' names, of artifacts that turned out bad
}

// New makes a cache; it asks nothing yet.
func New(o Options) *Cache {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Patience = o.Patience.withDefaults()
	return &Cache{Options: o, bad: map[string]bool{}}
}

// Wanted says which artifact.
type Wanted struct {
	Revision string
	Inputs   Inputs
	// Home is the directory in which it is built, and to which it is unpacked.
	Home string
}

// Found is an artifact that was found, and not yet read.
type Found struct {
	Manifest Manifest
	Digest   string // the manifest's

	name string // of its objects, without what they end in
}

const (
	manifestEnd = ".json"
	archiveEnd  = ".tar.zst"
)

// prefix begins the names of all objects of an app in an env.
func (c *Cache) prefix() string { return c.App + "/" + c.Env + "/" }

// name is that of an artifact's objects.
func (c *Cache) name(key string, generation int) string {
	return c.prefix() + key + "/" + strconv.Itoa(generation)
}

// Warm asks the store for nothing, so that the connection stands when something is asked for.
func (c *Cache) Warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	_, _ = c.Store.Read(ctx, c.prefix()+"warm", 0, make([]byte, 1))
}

// Find looks for an artifact: one that was built in this very directory, or one that is at home everywhere. There being none is ErrMiss;
// every other error says that building is the way, too, and why.
func (c *Cache) Find(ctx context.Context, w Wanted) (Found, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookPatience, fmt.Errorf("the artifact cache did not answer within %s", lookPatience))
	defer cancel()
	found, err := c.find(ctx, w)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; last: %w", context.Cause(ctx), err)
	}
	return found, err
}

func (c *Cache) find(ctx context.Context, w Wanted) (Found, error) {
	key := w.Inputs.Key(w.Revision)
	objects, err := c.Store.List(ctx, c.prefix()+key)
	if err != nil {
		return Found{}, fmt.Errorf("look for an artifact: %w", err)
	}
	err = ErrMiss
	for _, key := range []string{bound(key, w.Home), key} {
		found, e := c.findKey(ctx, key, w.Home, objects)
		if e == nil {
			return found, nil
		}
		if !errors.Is(e, ErrMiss) {
			err = e
		}
	}
	return Found{}, err
}

// findKey looks for the right one of a key's generations: the one that the fleet's record names, or the newest.
func (c *Cache) findKey(ctx context.Context, key, home string, objects []model.Object) (Found, error) {
	there := c.generations(key, objects)
	newest, size := -1, int64(0)
	for generation, g := range there {
		if g.manifest > 0 && generation > newest {
			newest, size = generation, g.manifest
		}
	}
	if newest < 0 {
		return Found{}, ErrMiss
	}
	if c.Ledger == nil {
		return c.read(ctx, key, newest, size, "", home)
	}
	entry, err := c.Ledger.Entry(ctx, key)
	switch {
	case err != nil:
		return Found{}, fmt.Errorf("read which artifact is the right one: %w", err)
	case entry.Digest == "": // it is being written, or nobody of the fleet wrote it
		return Found{}, ErrMiss
	case there[entry.Generation].manifest == 0:
		return Found{}, fmt.Errorf("the artifact %s that the fleet has recorded is not in the cache", c.name(key, entry.Generation))
	}
	return c.read(ctx, key, entry.Generation, there[entry.Generation].manifest, entry.Digest, home)
}

// read reads a manifest. What is wrong with it is remembered.
func (c *Cache) read(ctx context.Context, key string, generation int, size int64, digest, home string) (Found, error) {
	name := c.name(key, generation)
	if c.isBad(name) {
		return Found{}, fmt.Errorf("the artifact %s turned out bad before", name)
	}
	found, err := c.readManifest(ctx, name, size, digest)
	if err == nil && (found.Manifest.Key != key || found.Manifest.Home != "" && found.Manifest.Home != home) {
		err = &BadError{errors.New("its manifest is another artifact's")}
	}
	if err != nil {
		return Found{}, fmt.Errorf("artifact %s: %w", name, c.remember(name, err))
	}
	return found, nil
}

// readManifest reads a manifest. One that is not what it should be is asked for once more, as a piece is: the network may have been at fault.
func (c *Cache) readManifest(ctx context.Context, name string, size int64, digest string) (Found, error) {
	if size > manifestMost {
		return Found{}, &BadError{fmt.Errorf("its manifest has %d bytes, and %d are the most", size, manifestMost)}
	}
	found, err := c.askManifest(ctx, name, size, digest)
	var bad *BadError
	if errors.As(err, &bad) {
		return c.askManifest(ctx, name, size, digest)
	}
	return found, err
}

func (c *Cache) askManifest(ctx context.Context, name string, size int64, digest string) (Found, error) {
	data := make([]byte, size+1)
	n, err := c.Store.Read(ctx, name+manifestEnd, 0, data)
	if err != nil {
		return Found{}, fmt.Errorf("read the manifest: %w", err)
	}
	got := Digest(data[:n])
	if digest != "" && got != digest {
		return Found{}, &BadError{fmt.Errorf("its manifest is not the one that the fleet has recorded: its SHA-256 is %s, and should be %s; somebody wrote it anew", got, digest)}
	}
	m, err := ParseManifest(data[:n], c.Limits)
	return Found{Manifest: m, Digest: got, name: name}, err
}

// Unpack writes a found artifact's tree into an empty directory. After an error nothing of it is left.
func (c *Cache) Unpack(ctx context.Context, f Found, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchPatience, fmt.Errorf("fetching it took longer than %s", fetchPatience))
	defer cancel()
	archive := openArchive(ctx, c.Store, f.name+archiveEnd, f.Manifest.Archive)
	if err := Unpack(ctx, archive, f.Manifest, dir, c.Limits); err != nil {
		return fmt.Errorf("artifact %s: %w", f.name, c.remember(f.name, err))
	}
	return nil
}

// remember keeps in mind an artifact that is bad for good.
func (c *Cache) remember(name string, err error) error {
	var bad *BadError
	if errors.As(err, &bad) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bad[name] = true
	}
	return err
}

func (c *Cache) isBad(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bad[name]
}

// generation is what is there of one.
type generation struct{ manifest, archive int64 }

// generations are those of a key, as far as there is anything of them.
func (c *Cache) generations(key string, objects []model.Object) map[int]generation {
	all := map[int]generation{}
	for _, o := range objects {
		rest, ok := strings.CutPrefix(o.Name, c.prefix()+key+"/")
		if !ok {
			continue
		}
		text, end, _ := strings.Cut(rest, ".")
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= generationsMost || strconv.Itoa(n) != text {
			continue
		}
		g := all[n]
		switch "." + end {
		case manifestEnd:
			g.manifest = o.Size
		case archiveEnd:
			g.archive = o.Size
		default:
			continue
		}
		all[n] = g
	}
	return all
}

// isTaken says whether somebody else was first.
func isTaken(err error) bool { return errors.Is(err, fs.ErrExist) }

// keyOf is the key in an object's name, "" in one that is none of ours.
func (c *Cache) keyOf(name string) string {
	rest, ok := strings.CutPrefix(name, c.prefix())
	if !ok || strings.Count(rest, "/") != 1 {
		return ""
	}
	return path.Dir(rest)
}
