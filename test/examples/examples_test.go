package examples_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/gittest"
	"github.com/bootagent/bootagent/internal/region/elbv2"
	"github.com/bootagent/bootagent/internal/trial"
)

// patience is very long because builds run at low priority: beside anything else that wants the processors they wait.
const patience = 8 * time.Minute

func TestTheNodeExampleIsBuiltOfItsPackagesAndRolls(t *testing.T) {
	t.Parallel()
	cache := fetched(t, "examples/node", "npm", "npm")
	d := deploy(t, "node", map[string]string{"npm_config_cache": cache, "npm_config_offline": "true", "npm_config_update_notifier": "false"})
	d.until("in service", func() error {
		// The build compiled the Markdown, and the server filled the page in.
		return d.says("/", "1", "<h1>It works</h1>", "served by <em>every</em> instance", "<small>release 1, revision ")
	})
	if err := d.says("/about", "1", "<h1>About</h1>"); err != nil {
		t.Error(err)
	}
	d.roll(map[string]string{"content/index.md": "# It *rolls*\n"}, func() error {
		return d.says("/", "2", "<h1>It <em>rolls</em></h1>")
	})
	if installed, err := os.ReadDir(filepath.Join(d.current(), "node_modules")); err != nil || strings.Contains(fmt.Sprint(installed), "marked") ||
		!strings.Contains(fmt.Sprint(installed), "mustache") {
		t.Errorf("what only the build needs should have been pruned: %v (%v)", installed, err)
	}
}

func TestThePythonExampleRunsInTheEnvironmentThatItsBuildMadeAndRolls(t *testing.T) {
	t.Parallel()
	wheels := fetched(t, "examples/python", "wheels", "python3")
	d := deploy(t, "python", map[string]string{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels})
	answers := func(release, greeting string) error {
		body, err := d.get("/", release)
		if err != nil {
			return err
		}
		var said struct{ Greeting, Framework, Environment string }
		if err := json.Unmarshal([]byte(body), &said); err != nil {
			return fmt.Errorf("%s: %w", body, err)
		}
		venv := filepath.Join(d.state(), "trees", release, "app", "venv")
		if said.Greeting != greeting || said.Framework != "bottle 0.13.4" || said.Environment != venv {
			return fmt.Errorf("it says %+v; want %q, and the environment %s", said, greeting, venv)
		}
		return nil
	}
	d.until("in service", func() error { return answers("1", "Hello, world") })
	d.roll(map[string]string{"name.txt": "fleet\n"}, func() error { return answers("2", "Hello, fleet") })
}

// deployment is an example on one instance behind a balancer.
type deployment struct {
	*trial.Trial
	t      *testing.T
	repo   *gittest.Repo
	client *http.Client
}

// deploy commits an example and asks for it. The build gets these variables besides the example's own.
func deploy(t *testing.T, name string, build map[string]string) *deployment {
	t.Helper()
	d := &deployment{t: t, repo: gittest.NewRepo(t), client: &http.Client{Timeout: 20 * time.Second}}
	d.repo.CommitFiles("main", example(t, filepath.Join("..", "..", "examples", name), build))
	var printed output
	var err error
	d.Trial, err = trial.Start(t.Context(), trial.Options{
		Agent: bootagent, Repository: d.repo.Dir, App: "shop", Instances: 1, Listen: "127.0.0.1:0",
		Check: elbv2.HealthCheck{Path: "/up"}, Output: func(string) io.Writer { return &printed },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the agent printed:\n%s", printed.text())
		}
		d.client.CloseIdleConnections()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := d.Put(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	if err := d.Launch(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// example reads an example as git would commit it, and adds variables to its recipe's build.
func example(t *testing.T, dir string, build map[string]string) map[string]gittest.File {
	t.Helper()
	ignored, err := os.ReadFile(filepath.Join(dir, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]gittest.File{}
	err = fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.Contains("\n"+string(ignored), "\n"+e.Name()+"/\n"): // somebody has built it by hand
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = gittest.File{Body: string(data)}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	recipe := files["bootagent.yaml"].Body
	var variables strings.Builder
	for name, value := range build {
		fmt.Fprintf(&variables, "    %s: %q\n", name, value)
	}
	if own := "\n  environment:\n"; strings.Contains(recipe, own) {
		recipe = strings.Replace(recipe, own, own+variables.String(), 1)
	} else {
		recipe = strings.Replace(recipe, "\nbuild:\n", "\nbuild:\n  environment:\n"+variables.String(), 1)
	}
	if !strings.Contains(recipe, variables.String()) {
		t.Fatalf("the recipe of %s has no build that could be added to:\n%s", dir, recipe)
	}
	files["bootagent.yaml"] = gittest.File{Body: recipe}
	return files
}

// fetched gives the directory of what setup.sh fetched, or leaves the test out, loudly; in CI nothing is left out.
func fetched(t *testing.T, example, kind, tool string) string {
	t.Helper()
	if os.Getenv("BOOTAGENT_EXAMPLES") != "1" {
		t.Skip("LEFT OUT: examples are deployed after all other tests, by make test or with BOOTAGENT_EXAMPLES=1: their builds run at low priority")
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", ".cache", "examples", kind))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = os.Stat(dir); err == nil {
		_, err = exec.LookPath(tool)
	}
	if err == nil {
		return dir
	}
	why := fmt.Sprintf("%s is not deployed: what it depends on is fetched by make test, where %s can be had: %v", example, tool, err)
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip("LEFT OUT: " + why)
	return ""
}

// state is the instance's state directory.
func (d *deployment) state() string {
	d.t.Helper()
	all := d.Instances()
	if len(all) != 1 {
		return ""
	}
	return filepath.Join(filepath.Dir(filepath.Dir(all[0].Socket)), "state")
}

func (d *deployment) current() string { return filepath.Join(d.state(), "current") }

// get asks the balancer, and demands an answer of that release.
func (d *deployment) get(path, release string) (string, error) {
	answer, err := d.client.Get(d.URL() + path)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if got := answer.Header.Get("X-Release"); err == nil && (answer.StatusCode != http.StatusOK || release != "" && got != release) {
		err = fmt.Errorf("%s from release %q, which is not %s: %s", answer.Status, got, release, body)
	}
	return string(body), err
}

// says demands words of a page.
func (d *deployment) says(path, release string, words ...string) error {
	body, err := d.get(path, release)
	for _, w := range words {
		if err == nil && !strings.Contains(body, w) {
			err = fmt.Errorf("%s does not say %q: %s", path, w, body)
		}
	}
	return err
}

func (d *deployment) until(what string, look func() error) {
	d.t.Helper()
	began := time.Now()
	for err := look(); err != nil; err = look() {
		if time.Since(began) > patience {
			d.t.Fatalf("after %s still not %s: %v", time.Since(began).Round(time.Second), what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// roll commits a change and waits until the release with it answers, and the old one is gone, while clients ask on. No request
// may fail.
func (d *deployment) roll(change map[string]string, answers func() error) {
	d.t.Helper()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() {
			for {
				if _, err := d.get("/", ""); err != nil {
					d.t.Errorf("a request failed while release 2 took over: %v", err)
				}
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	d.repo.Commit(change)
	_, err := d.Put(d.t.Context(), "main")
	if err == nil {
		d.until("release 2 alone", func() error {
			s, ok := d.Instances()[0].Status(d.t.Context())
			if !ok || s.InService.Number != 2 || len(s.Doing) > 0 || !s.Deploying.IsZero() {
				return fmt.Errorf("release %d is in service, and it does %v", s.InService.Number, s.Doing)
			}
			return answers()
		})
	}
	close(stop)
	clients.Wait()
	if err != nil {
		d.t.Fatal(err)
	}
}

// output keeps what the agent printed.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}
