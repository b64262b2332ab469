package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/deploy/artifact"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/rollout"
)

func cacheCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Look after the artifact cache: what was built, or left for the next build, and is kept for other instances",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(cacheListCommand(), cacheVerifyCommand(), cachePruneCommand())
	return c
}

// cache opens the cache of the fleet that the flags name.
func (f *fleetFlags) cache(ctx context.Context) (*artifact.Cache, error) {
	s, err := f.find(ctx, places{getenv: os.Getenv, here: hereFile, instance: config.DefaultPath, parameter: readParameter})
	if err != nil {
		return nil, err
	}
	if s.Cache.URL == "" {
		return nil, &usageError{fmt.Errorf("%s %s has no artifact cache: cache.url of its configuration says where one is", s.App, s.Env)}
	}
	aws, err := openSession(ctx, s)
	if err != nil {
		return nil, err
	}
	var records rollout.Store
	if s.Table != "" {
		records, _ = fleetRecords(s.Config, config.Directories{}, aws)
	}
	return openCache(s.Config, "", aws, records, "")
}

func cacheListCommand() *cobra.Command {
	var f fleetFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the artifacts, the newest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cache, err := f.cache(c.Context())
			if err != nil {
				return err
			}
			all, err := cache.List(c.Context())
			if err != nil {
				return err
			}
			return printArtifacts(c.OutOrStdout(), all, asJSON)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printArtifacts(out io.Writer, all []artifact.Stored, asJSON bool) error {
	if asJSON {
		for i := range all {
			if m := all[i].Manifest; m != nil {
				m.Archive.Pieces = nil // by the thousand, and for nobody to read
			}
		}
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(out, "there are no artifacts")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WRITTEN\tREVISION\tRELEASE\tBY\tSIZE\tWHAT\tARTIFACT")
	for _, s := range all {
		revision, release, by, what := "?", "?", "half an artifact", "?"
		switch {
		case s.Manifest != nil:
			b := s.Manifest.Built
			revision, release, by, what = fmt.Sprintf("%.12s", b.Revision), fmt.Sprint(b.Release), b.Instance, "release"
			if d := s.Directory(); d != "" {
				what = "what builds left in " + d
			}
		case s.Problem != "":
			by = s.Problem
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f MB\t%s\t%s\n", s.Written.UTC().Format(time.RFC3339), safe(revision), release, safe(by), float64(s.Bytes)/1e6, safe(what), safe(s.Name))
	}
	return w.Flush()
}

func cacheVerifyCommand() *cobra.Command {
	var f fleetFlags
	c := &cobra.Command{
		Use:   "verify [REVISION]",
		Short: "Read artifacts, all or those of a revision, and compare them with their manifests and the fleet's records",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cache, err := f.cache(c.Context())
			if err != nil {
				return err
			}
			all, err := cache.List(c.Context())
			if err != nil {
				return err
			}
			looked, wrong := 0, 0
			for _, s := range all {
				if len(args) > 0 && (s.Manifest == nil || !strings.HasPrefix(s.Manifest.Built.Revision, args[0])) {
					continue
				}
				looked++
				err := cache.Verify(c.Context(), s)
				var bad *artifact.BadError
				switch {
				case err == nil:
					fmt.Fprintf(c.OutOrStdout(), "good  %s\n", safe(s.Name))
				case errors.As(err, &bad):
					wrong++
					fmt.Fprintf(c.OutOrStdout(), "BAD   %s: %s\n", safe(s.Name), safe(err.Error()))
				default:
					return fmt.Errorf("artifact %s: %w", s.Name, err)
				}
			}
			switch {
			case wrong > 0:
				return fmt.Errorf("%d of %d artifacts are bad; no instance takes them, and the next one that builds their revision makes another", wrong, looked)
			case looked == 0 && len(args) > 0:
				return &usageError{fmt.Errorf("there is no artifact of a revision that begins with %q", args[0])}
			}
			return nil
		},
	}
	f.add(c)
	return c
}

func cachePruneCommand() *cobra.Command {
	var f fleetFlags
	var days, keep int
	var dry bool
	c := &cobra.Command{
		Use:   "prune",
		Short: "Remove old artifacts; an instance that misses one builds it anew",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if days < 1 || keep < 1 {
				return &usageError{fmt.Errorf("--days %d --keep %d: both are 1 at least", days, keep)}
			}
			cache, err := f.cache(c.Context())
			if err != nil {
				return err
			}
			gone, err := cache.Prune(c.Context(), time.Now().AddDate(0, 0, -days), keep, dry)
			done := "removed"
			if dry {
				done = "would be removed:"
			}
			for _, s := range gone {
				fmt.Fprintf(c.OutOrStdout(), "%s %s\n", done, safe(s.Name))
			}
			return err
		},
	}
	f.add(c)
	c.Flags().IntVar(&days, "days", 30, "remove what is older than so many days")
	c.Flags().IntVar(&keep, "keep", 5, "but keep the artifacts of so many revisions, the newest (and the two newest of each directory of build.cache)")
	c.Flags().BoolVar(&dry, "dry-run", false, "remove nothing, and say what would be")
	return c
}
