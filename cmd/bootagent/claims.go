package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/rollout"
)

// claims are the fleet's records of who builds which artifact.
type claims struct {
	records rollout.Store
	now     func() time.Time
}

const (
	// claimLife is when a claim that nobody ended is cleared away. What can't be kept is tried again after it.
	claimLife = 24 * time.Hour

	instanceAttribute, serialAttribute, uselessAttribute = "instance", "serial", "useless"
	// uselessMost bounds the reason that is recorded.
	uselessMost = 300
)

// Claim reads who builds a key. A record that can't be read is nobody's: the next build writes over it.
func (c claims) Claim(ctx context.Context, key string) (is artifact.Claim, err error) {
	r, err := c.records.Get(ctx, rollout.BuildKey(key))
	if err != nil || r.Attributes == nil {
		return is, err
	}
	var schema int
	err = errors.Join(
		json.Unmarshal([]byte(r.Attributes["schema"]), &schema),
		json.Unmarshal([]byte(r.Attributes[instanceAttribute]), &is.Instance),
		json.Unmarshal([]byte(r.Attributes[serialAttribute]), &is.Serial),
		json.Unmarshal([]byte(r.Attributes[uselessAttribute]), &is.Useless),
	)
	if err == nil && schema > rollout.Schema {
		err = fmt.Errorf("it has schema %d, and this version of bootagent reads %d: upgrade it", schema, rollout.Schema)
	}
	if err != nil {
		return artifact.Claim{}, fmt.Errorf("the claim on building the artifact %s can't be read: %w", key, err)
	}
	return is, nil
}

// Swap replaces what was there, if it is as it was read.
func (c claims) Swap(ctx context.Context, key string, was, is artifact.Claim) error {
	change := rollout.Change{Key: rollout.BuildKey(key), Expires: c.now().Add(claimLife)}
	if change.New = was == (artifact.Claim{}); !change.New {
		change.Expect = claimed(was)
		delete(change.Expect, "schema")
	}
	switch {
	case is != (artifact.Claim{}):
		change.Set = claimed(is)
	case change.New:
		return nil
	default:
		change.Delete, change.Expires = true, time.Time{}
	}
	err := c.records.Apply(ctx, change)
	if errors.Is(err, rollout.ErrConflict) {
		return fmt.Errorf("claim the build of the artifact %s: somebody else has (%w): %w", key, err, fs.ErrExist)
	}
	return err
}

func claimed(is artifact.Claim) map[string]string {
	useless := is.Useless
	if runes := []rune(useless); len(runes) > uselessMost {
		useless = string(runes[:uselessMost]) + "…"
	}
	said, err := json.Marshal(useless)
	if err != nil { // no string fails
		said = []byte(`""`)
	}
	return map[string]string{
		"schema": strconv.Itoa(rollout.Schema), instanceAttribute: strconv.Quote(is.Instance), serialAttribute: strconv.Itoa(is.Serial), uselessAttribute: string(said),
	}
}
