package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bootagent/bootagent/deploy/recipe"
	"github.com/bootagent/bootagent/internal/config"
	"github.com/bootagent/bootagent/internal/strictyaml"
)

func validateCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Check the recipe in DIR (default: here), or with --config a configuration",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("config") {
				if len(args) > 0 {
					return &usageError{fmt.Errorf("validate takes a directory or --config, not both")}
				}
				if _, err := config.Load(path); err != nil {
					return &usageError{err}
				}
				_, err := fmt.Fprintf(c.OutOrStdout(), "%s is a good configuration\n", path)
				return err
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return validateRecipe(c.OutOrStdout(), dir)
		},
	}
	configFlag(c, &path)
	return c
}

func validateRecipe(out io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return &usageError{err}
	}
	defer func() { _ = root.Close() }()
	r, err := recipe.Load(root.FS(), nil)
	if err != nil {
		return &usageError{below(dir, err)}
	}
	name := recipe.FileName
	if _, err := root.Stat(name); err != nil {
		name = recipe.ProcfileName
	}
	fmt.Fprintf(out, "%s is good\n", filepath.Join(dir, name))
	if len(r.Build.Run) > 0 {
		fmt.Fprintf(out, "  build    %q within %s\n", r.Build.Run, r.Build.Timeout)
	}
	if t := r.Task; t != nil {
		fmt.Fprintf(out, "  task     %q once a rollout, within %s\n", t.Run, t.Timeout)
	}
	for _, p := range r.Processes {
		fmt.Fprintf(out, "  %-8s %q\n", p.Name, p.Run)
	}
	check := "TCP: a connection is accepted on PORT"
	if r.Health.Path != "" {
		check = "GET " + r.Health.Path
	}
	_, err = fmt.Fprintf(out, "  health   %s, %d in a row within %s\n", check, r.Health.Successes, r.Health.Deadline)
	return err
}

// below gives the problems of a recipe the path that an editor can open.
func below(dir string, err error) error {
	var one *strictyaml.Error
	var all strictyaml.Errors
	switch {
	case errors.As(err, &all):
		moved := make(strictyaml.Errors, 0, len(all))
		for _, e := range all {
			c := *e
			c.File = filepath.Join(dir, c.File)
			moved = append(moved, &c)
		}
		return moved
	case errors.As(err, &one):
		c := *one
		c.File = filepath.Join(dir, c.File)
		return &c
	}
	return fmt.Errorf("%s: %w", dir, err)
}
