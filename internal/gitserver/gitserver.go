// Package gitserver serves git repositories for reading, over smart HTTP, by the real `git http-backend`.
// It is what `bootagent try` and the tests fetch from. Pushing is refused whatever the repository's own
// configuration says, and nothing is ever written to a repository.
package gitserver

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Options say how the repositories are served. The zero value serves to everybody, without fetches by SHA.
type Options struct {
	// AnySHA lets clients fetch any commit by its SHA (uploadpack.allowAnySHA1InWant), as the big hosts do.
	// Without it git hands out only what a branch or a tag points to.
	AnySHA bool
	// Config is further git configuration ("section.key" → value) for the server's processes alone; it wins over the
	// repository's own.
	Config map[string]string
	// Stderr takes what git says; nil drops it.
	Stderr io.Writer
}

// Handler serves every repository below the directory root: root/team/shop.git as /team/shop.git.
// It is an error when git, or its http-backend, is not installed.
func Handler(root string, o Options) (http.Handler, error) {
	backend, err := newBackend(root, o)
	if err != nil {
		return nil, err
	}
	return readOnly(backend), nil
}

// Repository serves the one repository in dir, bare or with a work tree, under the name that is given ("shop.git" →
// /shop.git). Only what is committed is served.
func Repository(name, dir string, o Options) (http.Handler, error) {
	gitDir, err := gitDir(dir)
	if err != nil {
		return nil, err
	}
	backend, err := newBackend(gitDir, o)
	if err != nil {
		return nil, err
	}
	prefix := path.Clean("/" + name)
	if prefix == "/" {
		return nil, fmt.Errorf("serve the repository in %s: %q is no name for it", dir, name)
	}
	backend.Root = prefix
	served := readOnly(backend)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, prefix+"/") {
			http.NotFound(w, r)
			return
		}
		served.ServeHTTP(w, r)
	}), nil
}

func newBackend(root string, o Options) (*cgi.Handler, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("serve git repositories: git is not installed: %w", err)
	}
	execPath, err := exec.Command(git, "--exec-path").Output()
	if err != nil {
		return nil, fmt.Errorf("serve git repositories: git --exec-path: %w", err)
	}
	program := filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend")
	if _, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("serve git repositories: git's http-backend is not installed: %w", err)
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("serve git repositories below %s: %w", root, err)
	}
	stderr := o.Stderr
	if stderr == nil {
		stderr = io.Discard
	}
	return &cgi.Handler{Path: program, Root: "", Dir: root, Env: environment(root, o), Stderr: stderr,
		Logger: log.New(stderr, "", 0)}, nil
}

// environment isolates the server from the machine's and the user's git configuration. Settings that come by
// GIT_CONFIG_COUNT are as strong as `git -c`: they win over the repository's.
func environment(root string, o Options) []string {
	config := map[string]string{
		"http.receivepack":              "false",
		"http.getanyfile":               "false",
		"uploadpack.allowAnySHA1InWant": strconv.FormatBool(o.AnySHA),
		// The person who asked to serve the repository need not be its owner (root on a laptop's checkout).
		"safe.directory": "*",
	}
	for k, v := range o.Config {
		config[k] = v
	}
	env := []string{
		"GIT_PROJECT_ROOT=" + root,
		"GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"HOME=" + os.DevNull,
		"GIT_CONFIG_COUNT=" + strconv.Itoa(len(config)),
	}
	i := 0
	for k, v := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, k), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, v))
		i++
	}
	return env
}

// readOnly lets through the two requests that a fetch consists of.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refs := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/info/refs") &&
			r.URL.Query().Get("service") == "git-upload-pack"
		pack := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-upload-pack")
		if !refs && !pack {
			http.Error(w, "this server only lets git fetch", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// gitDir finds the repository itself: dir, or the .git in it.
func gitDir(dir string) (string, error) {
	for _, d := range []string{filepath.Join(dir, ".git"), dir} {
		cmd := exec.Command("git", "--git-dir", d, "-c", "safe.directory=*", "rev-parse", "--absolute-git-dir")
		cmd.Env = append(os.Environ(), "GIT_DIR=", "LC_ALL=C")
		out, err := cmd.Output()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
	}
	return "", fmt.Errorf("%s is no git repository: run `git init` and commit, or name another directory", dir)
}
