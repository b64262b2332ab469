package arch

import (
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// rule is one rule of the architecture, with the known exceptions: by the
// finding's key, and why each is one.
type rule struct {
	check      func(*module) []finding
	exceptions map[string]string
}

func rules() map[string]rule {
	return map[string]rule{
		"imports run one way": {direction, map[string]string{
			"internal/config → deploy/recipe": "the configuration may hold a recipe, for a commit that has none",
			"internal/trial → agent":          "it asks its instances for agent.Status through their sockets",
		}},
		"a library has one owner": {ownership, nil},
		"decisions are pure":      {purity, nil},
		"no package is a bag":     {naming, nil},
		"nothing happens in init": {starting, nil},
		"nothing global changes": {globals, map[string]string{
			"cmd/bootagent.version": "the linker sets it",
		}},
	}
}

func TestTheCodeKeepsTheRules(t *testing.T) {
	t.Parallel()
	m, err := read(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.packages) < 20 {
		t.Fatalf("only %d packages found: %v", len(m.packages), m.packages)
	}
	for _, want := range pure() {
		if !slices.ContainsFunc(m.files, func(f *file) bool { return f.path == want || f.pkg == want }) {
			t.Errorf("%s, which should be pure, does not exist", want)
		}
	}
	for name, r := range rules() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := maps.Clone(r.exceptions)
			for _, f := range r.check(m) {
				delete(left, f.key)
				if _, excepted := r.exceptions[f.key]; !excepted {
					t.Error(f.text)
				}
			}
			for key, why := range left {
				t.Errorf("the exception for %s (%s) has no case any more: take it out", key, why)
			}
		})
	}
}

// sound is a small module that keeps all rules.
func sound() map[string]string {
	return map[string]string{
		"go.mod":                  "module example.com/m\n",
		"internal/model/model.go": "package model\nimport \"errors\"\nvar ErrNone = errors.New(\"none\")\ntype Release struct{ Number int }\nfunc (r Release) String() string { return \"r\" }",
		"internal/unit/unit.go":   "package unit\nimport \"example.com/m/internal/model\"\ntype Spec struct{ R model.Release }",
		"deploy/deploy.go":        "package deploy\nimport \"example.com/m/deploy/source\"\ntype Prepared struct{}\nfunc Fetch() { source.Fetch() }",
		"deploy/source/source.go": "package source\nimport _ \"github.com/go-git/go-git/v5/plumbing\"\nfunc Fetch() {}",
		"agent/plan.go": "package agent\nimport (\"time\"; \"example.com/m/deploy\"; \"example.com/m/internal/model\")\n" +
			"type Step int\nfunc Plan(d deploy.Prepared, r model.Release, now time.Time) Step { _ = r.String(); _ = now.Add(time.Hour); return later(now) }\nfunc later(time.Time) Step { return 1 }",
		"agent/agent.go": "package agent\nimport \"time\"\ntype Agent struct{ last time.Time }\nfunc (a *Agent) turn() { a.last = time.Now() }\n" +
			"var _ = Agent{}\nvar table = []string{\"x\"}\nfunc read() string { last := table[0]; last += \"y\"; return last }",
		"internal/aws/ssm/ssm.go":           "package ssm\nimport _ \"github.com/aws/aws-sdk-go-v2/aws\"",
		"cmd/bootagent/main.go":             "package main\nimport (_ \"example.com/m/agent\"; _ \"example.com/m/internal/aws/ssm\")\nfunc main() {}",
		"agent/agent_test.go":               "package agent\nimport _ \"example.com/m/internal/aws/ssm\"\nfunc init() {}\nvar seen int",
		"tools/go.mod":                      "module example.com/m/tools\n",
		"tools/util.go":                     "package util\nfunc init() {}",
		"deploy/testdata/app/util.go":       "package util\nfunc init() {}",
		"internal/unit/unittest/helper.go":  "package unittest\nimport (_ \"testing\"; _ \"example.com/m/internal/unit\")",
		"test/demo/main.go":                 "package main\nimport (_ \"example.com/m/agent\"; _ \"github.com/aws/aws-sdk-go-v2/aws\")\nfunc main() {}",
		"internal/process/process_other.go": "//go:build !linux\n\npackage process\nimport _ \"example.com/m/internal/unit\"",
	}
}

func parse(t *testing.T, files map[string]string) *module {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text), Mode: fs.ModePerm}
	}
	m, err := read(tree)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestASoundModuleKeepsAllRules(t *testing.T) {
	t.Parallel()
	m := parse(t, sound())
	for name, r := range rules() {
		for _, f := range r.check(m) {
			t.Errorf("%s: %s", name, f.text)
		}
	}
}

// A test that can't fail is worse than none: each line breaks one rule.
func TestEveryRuleCanBeBroken(t *testing.T) {
	t.Parallel()
	const (
		way, owner, pure, bag, start, global = "imports run one way", "a library has one owner", "decisions are pure",
			"no package is a bag", "nothing happens in init", "nothing global changes"
	)
	ours := func(pkg, imported string) string {
		return "package " + pkg + "\nimport _ \"example.com/m/" + imported + "\"\n"
	}
	for _, c := range []struct {
		name, rule, file, text, want string
	}{
		{"the agent imports an adapter", way, "agent/boot.go", ours("agent", "internal/aws/ssm"), "agent/boot.go:2: agent (layer agent) must not import internal/aws/ssm"},
		{"the agent imports a step of deploy", way, "agent/boot.go", ours("agent", "deploy/source"), "must not import deploy/source"},
		{"an adapter imports the agent", way, "internal/aws/ssm/get.go", ours("ssm", "agent"), "internal/aws/ssm (layer aws) must not import agent"},
		{"an adapter imports deploy", way, "internal/process/p.go", ours("process", "deploy"), "must not import deploy"},
		{"an adapter imports another", way, "internal/process/p.go", ours("process", "internal/aws/ssm"), "must not import internal/aws/ssm"},
		{"an adapter for another platform imports the agent", way, "internal/process/p_darwin.go", ours("process", "agent"), "p_darwin.go:2"},
		{"the region imports the client", way, "internal/region/ssm/s.go", ours("ssm", "internal/aws/ssm"), "must not import internal/aws/ssm"},
		{"deploy imports the agent", way, "deploy/more.go", ours("deploy", "agent"), "deploy (layer deploy) must not import agent"},
		{"health imports deploy", way, "health/health.go", ours("health", "deploy"), "must not import deploy"},
		{"the model imports something of ours", way, "internal/model/more.go", ours("model", "internal/unit"), "model may import nothing of ours only"},
		{"somebody imports cmd", way, "internal/trial/t.go", ours("trial", "cmd/bootagent"), "must not import cmd/bootagent"},
		{"somebody imports what is for tests", way, "internal/process/p.go", ours("process", "internal/unit/unittest"), "(layer tests)"},
		{"a package without a place", way, "internal/magic/m.go", "package magic", "internal/magic is in no layer"},

		{"the SDK in the agent", owner, "agent/boot.go", "package agent\nimport _ \"github.com/aws/smithy-go\"", "agent must not import github.com/aws/smithy-go"},
		{"the SDK in the region", owner, "internal/region/r.go", "package region\nimport _ \"github.com/aws/aws-sdk-go-v2/service/ssm\"", "only internal/aws/... may"},
		{"go-git beside deploy/source", owner, "deploy/git.go", "package deploy\nimport _ \"github.com/go-git/go-git/v5\"", "only deploy/source may"},
		{"systemd in cmd", owner, "cmd/bootagent/d.go", "package main\nimport _ \"github.com/coreos/go-systemd/v22/dbus\"", "only internal/systemd may"},
		{"testing in what is shipped", owner, "deploy/t.go", "package deploy\nimport _ \"testing\"", "must not import testing"},

		{"the plan imports os", pure, "agent/step.go", "package agent\nimport _ \"os\"", "agent/step.go:2: pure code must not import os"},
		{"the plan imports a library", pure, "agent/step.go", "package agent\nimport _ \"go.uber.org/zap\"", "must not import go.uber.org/zap"},
		{"the plan imports a context", pure, "agent/step.go", "package agent\nimport _ \"context\"", "must not import context"},
		{"the plan looks at the clock", pure, "agent/step.go", "package agent\nimport \"time\"\nvar now = time.Now", "must not use time.Now"},
		{"the plan looks at a clock by another name", pure, "agent/step.go", "package agent\nimport clock \"time\"\nfunc f(t clock.Time) clock.Duration { return clock.Since(t) }", "must not use time.Since"},
		{"the plan prints", pure, "agent/step.go", "package agent\nimport \"fmt\"\nfunc f() { fmt.Println() }", "must not use fmt.Println"},
		{"the plan starts a goroutine", pure, "agent/step.go", "package agent\nfunc f() { go f() }", "must not start a goroutine"},
		{"the plan waits", pure, "agent/step.go", "package agent\nfunc f() { select {} }", "must not use channels"},
		{"the plan calls what is impure, by a function", pure, "agent/step.go", "package agent\nfunc f() { _ = read() }", "must not use read, which stands in agent/agent.go"},
		{"the plan calls what is impure, by a method", pure, "agent/step.go", "package agent\nfunc f(a *Agent) { a.turn() }", "must not use turn"},
		{"the plan reads a variable of elsewhere", pure, "agent/step.go", "package agent\nfunc f() string { return table[0] }", "must not use table"},
		{"the plan calls another package", pure, "agent/step.go", "package agent\nimport \"example.com/m/deploy\"\nfunc f() { deploy.Fetch() }", "must not call deploy.Fetch"},

		{"a bag by its directory", bag, "internal/util/u.go", "package strings2", "a package named util is a bag"},
		{"a bag by its name", bag, "health/x.go", "package helpers", "a package named helpers is a bag"},
		{"an init", start, "deploy/i.go", "package deploy\nfunc init() {}", "deploy/i.go:2: func init"},

		{"a counter", global, "deploy/g.go", "package deploy\nvar n int", "variable n is no error"},
		{"a default object", global, "deploy/g.go", "package deploy\nvar Default = &Prepared{}", "variable Default is no error"},
		{"a registry", global, "deploy/g.go", "package deploy\nvar registry = map[string]int{}", "variable registry is no error"},
		{"a lock", global, "deploy/g.go", "package deploy\nimport \"sync\"\nvar mu sync.Mutex", "variable mu is no error"},
		{"a sentinel by another name", global, "deploy/g.go", "package deploy\nimport \"errors\"\nvar broken = errors.New(\"x\")", "variable broken is no error"},
		{"a table that grows", global, "agent/g.go", "package agent\nfunc add() { table = append(table, \"z\") }", "variable table may be changed here"},
		{"a table whose entry changes", global, "agent/g.go", "package agent\nfunc set() { table[0] = \"z\" }", "variable table may be changed here"},
		{"a table that is given away", global, "agent/g.go", "package agent\nfunc get() *[]string { return &table }", "variable table may be changed here"},
		{"a map that shrinks", global, "agent/g.go", "package agent\nvar m = map[int]int{1: 1}\nfunc cut() { delete(m, 1) }", "variable m may be changed here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := sound()
			files[c.file] = c.text
			m := parse(t, files)
			found := rules()[c.rule].check(m)
			if len(found) != 1 || !strings.Contains(found[0].text, c.want) {
				t.Errorf("the rule %q found %q, want one finding with %q", c.rule, found, c.want)
			}
		})
	}
}
