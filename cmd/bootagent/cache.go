package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/aws/s3"
	"github.com/bootagent/bootagent/internal/aws/session"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/rollout"
)

// openCache opens the configured artifact cache, nil where there is none. Instance is this one's id, "" on no instance. Records are the fleet's, nil where they are this instance's own.
func openCache(conf config.Config, instance string, aws *session.Session, records rollout.Store, scratch string) (*artifact.Cache, error) {
	if conf.Cache.URL == "" {
		return nil, nil //nolint:nilnil // no cache is no error
	}
	store, err := openStore(conf.Cache.URL, aws)
	if err != nil {
		return nil, err
	}
	o := artifact.Options{Store: store, App: conf.App, Env: conf.Env, Instance: instance, Scratch: scratch}
	if records != nil {
		o.Ledger, o.Claims = ledger{records, time.Now}, claims{records, time.Now}
	}
	return artifact.New(o), nil
}

func openStore(address string, aws *session.Session) (artifact.Store, error) {
	u, err := url.Parse(address)
	switch {
	case err == nil && u.Scheme == "file":
		return artifact.OpenDirectory(u.Path), nil
	case err == nil && u.Scheme == "s3":
		return s3.Open(aws, u.Host, strings.Trim(u.Path, "/")), nil
	}
	return nil, fmt.Errorf("cache.url: %q is neither s3:// nor file://", address) // the configuration has refused it before
}

// ledger is the fleet's record of the right artifacts: a record of each key.
type ledger struct {
	records rollout.Store
	now     func() time.Time
}

const (
	// ledgerLife is how long a record is kept: longer than anybody goes back. Without its record an artifact is made anew.
	ledgerLife = 180 * 24 * time.Hour

	digestAttribute, generationAttribute = "digest", "generation"
)

// Entry reads what is recorded of a key.
func (l ledger) Entry(ctx context.Context, key string) (e artifact.Entry, err error) {
	r, err := l.records.Get(ctx, rollout.ArtifactKey(key))
	if err != nil || r.Attributes == nil {
		return e, err
	}
	var schema int
	err = errors.Join(
		json.Unmarshal([]byte(r.Attributes["schema"]), &schema),
		json.Unmarshal([]byte(r.Attributes[digestAttribute]), &e.Digest),
		json.Unmarshal([]byte(r.Attributes[generationAttribute]), &e.Generation),
	)
	switch {
	case err == nil && schema > rollout.Schema:
		return artifact.Entry{}, fmt.Errorf("the record of the artifact %s has schema %d, and this version of bootagent reads %d: upgrade it", key, schema, rollout.Schema)
	case err != nil || e.Digest == "":
		return artifact.Entry{}, fmt.Errorf("the record of the artifact %s can't be read (%w): delete it, and the next build makes it anew", key, err)
	}
	return e, nil
}

// Record replaces what was there, if it is as it was read.
func (l ledger) Record(ctx context.Context, key string, was, is artifact.Entry) error {
	c := rollout.Change{Key: rollout.ArtifactKey(key), Set: attributes(is), Expires: l.now().Add(ledgerLife)}
	if c.New = was == (artifact.Entry{}); !c.New {
		c.Expect = attributes(was)
		delete(c.Expect, "schema")
	}
	err := l.records.Apply(ctx, c)
	if errors.Is(err, rollout.ErrConflict) {
		return fmt.Errorf("record the artifact %s: somebody else has (%w): %w", key, err, fs.ErrExist)
	}
	return err
}

func attributes(e artifact.Entry) map[string]string {
	return map[string]string{"schema": strconv.Itoa(rollout.Schema), digestAttribute: strconv.Quote(e.Digest), generationAttribute: strconv.Itoa(e.Generation)}
}
