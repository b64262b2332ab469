package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bootagent/bootagent/deploy/tree"
)

// machineGit runs the machine's git for one remote, in a scratch directory that is somebody else's to remove. What it runs
// asks nobody, reads no configuration but what stands here, runs no hook, and speaks one protocol.
type machineGit struct {
	program string
	remote  *remote
	scratch string
	repo    string
	config  []string
	env     []string
	secrets *os.File // what a credential helper says, for HTTP; nil for none
	agent   *keyAgent
}

// newMachineGit makes an empty repository. Close it.
func newMachineGit(ctx context.Context, program string, r *remote, scratch string, sha256 bool) (*machineGit, error) {
	g := &machineGit{program: program, remote: r, scratch: scratch, repo: filepath.Join(scratch, "repository")}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, g.close())
	}
	format := "sha1"
	if sha256 {
		format = "sha256"
	}
	args := []string{"init", "--quiet", "--bare", "--template="}
	if sha256 { // only then: the option is not as old as git
		args = append(args, "--object-format="+format)
	}
	err := g.run(ctx, nil, nil, append(args, g.repo)...)
	if err == nil {
		// git archive would leave out, and fill in, what these two name. A checkout doesn't.
		err = os.MkdirAll(filepath.Join(g.repo, "info"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(g.repo, "info", "attributes"), []byte("* -export-ignore -export-subst\n"), 0o600)
	}
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *machineGit) open() error {
	home := filepath.Join(g.scratch, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return fmt.Errorf("make git's home: %w", err)
	}
	g.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home, "TMPDIR=" + home, "LC_ALL=C", "GIT_DIR=" + g.repo,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "SSH_ASKPASS_REQUIRE=never", "GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=" + g.remote.scheme, "GIT_PROTOCOL_FROM_USER=0",
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if value, ok := os.LookupEnv(name); ok {
			g.env = append(g.env, name+"="+value)
		}
	}
	if file, ok := os.LookupEnv("SSL_CERT_FILE"); ok {
		g.env = append(g.env, "GIT_SSL_CAINFO="+file)
	}
	idle := max(int(g.remote.config.Idle/time.Second), 1)
	g.config = []string{
		"core.hooksPath=" + os.DevNull, "core.attributesFile=" + os.DevNull, "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false",
		"protocol.allow=never", "protocol." + g.remote.scheme + ".allow=always", "credential.helper=",
		"http.followRedirects=false", // git would follow them to any host
		"http.lowSpeedLimit=" + strconv.Itoa(max(dripBytes/idle, 1)), "http.lowSpeedTime=" + strconv.Itoa(idle),
		"fetch.unpackLimit=1", "transfer.unpackLimit=1", "submodule.recurse=false", "fetch.recurseSubmodules=false", "tar.umask=0022",
	}
	if program, err := exec.LookPath("git-lfs"); err == nil {
		g.config = append(g.config, "filter.lfs.process="+shellQuoted(program)+" filter-process", "filter.lfs.smudge="+shellQuoted(program)+" smudge -- %f",
			"filter.lfs.required=true", "lfs.storage="+filepath.Join(g.scratch, "lfs"), "lfs.activitytimeout="+strconv.Itoa(idle),
			"lfs.dialtimeout="+strconv.Itoa(idle), "lfs.tlstimeout="+strconv.Itoa(idle), "lfs.transfer.maxretries=2", "lfs.transfer.maxretrydelay=1")
		// .lfsconfig in the repository must not lead the agent elsewhere: this wins over it.
		if !g.remote.isSSH() {
			g.config = append(g.config, "lfs.url="+strings.TrimSuffix(g.remote.text, ".git")+".git/info/lfs")
		} else {
			g.config = append(g.config, "lfs.url="+g.lfsOverSSH())
		}
	}
	if g.remote.isSSH() {
		return g.openSSH()
	}
	return g.openHTTP()
}

// openHTTP lets a credential helper read the secret from memory: it is in no argument, no environment and no file. git asks
// the helper for this scheme, host and port alone.
func (g *machineGit) openHTTP() (err error) {
	auth := g.remote.auth
	if auth.Secret == "" {
		return nil
	}
	g.secrets, err = memoryFile("username=" + auth.User + "\npassword=" + string(auth.Secret) + "\n")
	if err != nil {
		return fmt.Errorf("hand git the credentials: %w", err)
	}
	origin := g.remote.scheme + "://" + g.remote.url.Host
	// Descriptor 3 is cmd.ExtraFiles' first. Each reader opens it anew, from its beginning.
	g.config = append(g.config, "credential."+origin+`.helper=!f() { test "$1" = get && cat /proc/self/fd/3; }; f`)
	return nil
}

func (g *machineGit) close() error {
	var err error
	if g.secrets != nil {
		err = g.secrets.Close()
	}
	if g.agent != nil {
		err = errors.Join(err, g.agent.close())
	}
	return err
}

// url is what git takes for this remote.
func (g *machineGit) url() string {
	if !g.remote.isSSH() {
		return g.remote.text
	}
	host := g.remote.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + g.remote.path // the user and the port stand in GIT_SSH_COMMAND
}

// killDelay is how long a killed git's pipes may stay open in somebody else's hands.
const killDelay = 5 * time.Second

// run runs one command of git to its end, in a process group of its own, of which nothing is left. Its output goes to stdout.
func (g *machineGit) run(ctx context.Context, stdin io.Reader, stdout io.Writer, args ...string) error {
	var full []string
	for _, c := range g.config {
		full = append(full, "-c", c)
	}
	cmd := exec.CommandContext(ctx, g.program, append(full, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout = g.scratch, g.env, stdin, stdout
	var said complaint
	cmd.Stderr = &said
	if g.secrets != nil {
		cmd.ExtraFiles = []*os.File{g.secrets}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	runtime.LockOSThread() // the signal comes when the thread ends that started it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run git %s: %w", args[0], err)
	}
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // helpers that outlived it; mostly there is none
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return g.explain(args[0], err, &said)
	}
	if text := strings.ToLower(string(said.head)); strings.Contains(text, "failed to encode") {
		return revisionf("a file can't be brought into the working-tree-encoding that .gitattributes wants%s", said.quote())
	}
	return nil
}

// explain puts a failure into words. The phrases are git's (remote-curl.c, connect.c, upload-pack.c, credential.c), OpenSSH's and the hosts'.
func (g *machineGit) explain(command string, err error, said *complaint) error {
	text := strings.ToLower(string(said.head))
	has := func(phrases ...string) bool {
		for _, p := range phrases {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("not our ref", "unadvertised object", "remote ref does not", "couldn't find remote ref"):
		return errNotOurRef
	case has("host key verification failed", "remote host identification has changed", "no matching host key"):
		return fmt.Errorf("%w: %s%s", ErrHostKey, howToPin(g.remote.location), said.quote())
	case has("authentication failed", "could not read username", "could not read password", "permission denied", "error: 403", "access denied"):
		return fmt.Errorf("%w: %s%s", ErrDenied, g.remote.hint(), said.quote())
	case has("not found", "does not appear to be a git repository", "does not exist", "no such repository"):
		return fmt.Errorf("%w, or one that these credentials may not see: %s%s", ErrNoRepository, g.remote.hint(), said.quote())
	case has("redirect", "returned error: 30"):
		return fmt.Errorf("the server redirects, which git is not let follow (source.engine): change source.url to where the repository is%s", said.quote())
	case has("hash algorithm", "object format") && has("mismatch"):
		return fmt.Errorf("%w: the repository's names are of the other kind%s", ErrNoRevision, said.quote())
	case has("invalid path"):
		return revisionf("git refuses a name in the tree%s", said.quote())
	case has("no space left on device"):
		return fmt.Errorf("git %s: %w", command, syscall.ENOSPC)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("git %s ended with %s%s", command, exit.ProcessState, said.quote())
	}
	return fmt.Errorf("git %s: %w", command, err)
}

// output runs a command and gives what it prints, up to most bytes.
func (g *machineGit) output(ctx context.Context, most int64, args ...string) ([]byte, error) {
	var out bytes.Buffer
	if err := g.run(ctx, nil, &boundedWriter{w: &out, left: most}, args...); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// boundedWriter refuses more than it may take; the program that writes to it ends then.
type boundedWriter struct {
	w    io.Writer
	left int64
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, &tree.LimitError{Path: "git's answer", What: "bytes", Limit: int64(len(p))}
	}
	return b.w.Write(p)
}
