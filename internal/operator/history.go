package operator

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/bootagent/bootagent/internal/model"
	"github.com/bootagent/bootagent/rollout"
)

// Past is one release that somebody asked for.
type Past struct {
	rollout.Release
	At time.Time `json:"at,omitzero"`
	// By is who asked: as the deploy said, or by AWS's name where it was written by hand.
	By         string `json:"by,omitempty"`
	Message    string `json:"message,omitempty"`
	RollbackOf int64  `json:"rollback_of,omitempty"`
	// Outcome is what became of it: what a rollout ended in, open, superseded, refused, waiting (nobody has opened it yet),
	// skipped (a newer one came before anybody opened it), or "" where that is not known.
	Outcome string `json:"outcome,omitempty"`
	Cause   string `json:"cause,omitempty"`
	Stable  bool   `json:"stable,omitempty"`
}

// History gives the releases that were asked for, the newest first, limit at most (0: all that Parameter Store keeps, which is 100).
func (o *Operator) History(ctx context.Context, limit int) ([]Past, error) {
	versions, err := o.Parameter.History(ctx, limit)
	if isNone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, settle(err)
	}
	if o.Store == nil {
		return o.historyAlone(ctx, versions)
	}
	r, err := o.read(ctx)
	if err != nil {
		return nil, settle(err)
	}
	came, err := o.Store.List(ctx, releasePrefix, 2*len(versions)+20, true)
	if err != nil {
		return nil, settle(err)
	}
	records := map[string]rollout.Record{}
	for _, record := range came {
		records[record.Key] = record
	}
	opened := r.opened()
	past := make([]Past, 0, len(versions))
	for n, v := range versions {
		p, byHand := pastOf(v)
		if byHand { // which says no epoch: it was of the present one
			p.Epoch = opened.Epoch
		}
		record := records[rollout.ReleaseKey(p.ID)]
		outcome, err := rollout.DecodeOutcome(record)
		if err != nil {
			return nil, settle(err)
		}
		p.Outcome, p.Cause = outcome.What, outcome.Cause
		p.Revision = orText(p.Revision, worded(record, "revision"))
		p.Stable = p.ID == r.stable.Release.ID
		if outcome.What == "" {
			p.Outcome = "skipped"
			switch {
			case p.Stable: // by the label alone: the records are younger
				p.Outcome = string(rollout.Succeeded)
			case n == 0 && p.Compare(opened) > 0:
				p.Outcome = "waiting"
			}
		}
		past = append(past, p)
	}
	return past, nil
}

// releasePrefix is where the keys of outcomes begin.
const releasePrefix = "release/"

func (o *Operator) historyAlone(ctx context.Context, versions []model.Version) ([]Past, error) {
	published, err := o.Parameter.Read(ctx)
	if err != nil {
		return nil, settle(err)
	}
	past := make([]Past, 0, len(versions))
	for _, v := range versions {
		p, _ := pastOf(v)
		p.Stable = published.Stable != nil && published.Stable.Number == v.Number
		past = append(past, p)
	}
	return past, nil
}

// pastOf is what a version of the parameter says, and whether it was written by hand.
func pastOf(v model.Version) (Past, bool) {
	release, intent, err := versionRelease(v)
	p := Past{Release: release, At: v.At, By: orText(intent.By, v.By), Message: intent.Message, RollbackOf: intent.RollbackOf}
	p.Number = v.Number
	if err != nil {
		p.Cause = err.Error()
	}
	return p, intent.Lock == ""
}

// HistoryText is the history for a person.
func HistoryText(past []Past) string {
	if len(past) == 0 {
		return "nobody has asked for a release yet"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, p := range past {
		at, what := "", p.Outcome
		if !p.At.IsZero() {
			at = p.At.Local().Format(time.DateTime)
		}
		if p.Stable {
			what = "stable"
		}
		note := p.Message
		if p.Cause != "" {
			note = strings.TrimSpace(note + " (" + firstLine(p.Cause) + ")")
		}
		ref := orText(p.Ref, "?")
		if ref == p.Revision {
			ref = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", number(p), at, strings.ReplaceAll(what, "_", " "), short(p.Revision), ref, shortBy(p.By), firstLine(note))
	}
	_ = w.Flush() // a strings.Builder takes everything
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

func number(p Past) string {
	if p.Epoch == 0 {
		return fmt.Sprint(p.Number)
	}
	return fmt.Sprintf("%d/%d", p.Epoch, p.Number)
}

func short(revision string) string { return revision[:min(len(revision), 12)] }

// shortBy is the last part of an ARN, which says who it is.
func shortBy(by string) string {
	if strings.HasPrefix(by, "arn:") {
		by = by[strings.LastIndex(by, ":")+1:]
	}
	return by
}
