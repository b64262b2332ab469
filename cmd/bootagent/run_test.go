package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/imds"
)

func gitInit(t *testing.T, dir string) {
	t.Helper()
	git := exec.CommandContext(t.Context(), "git", "init", "--quiet", dir)
	git.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
	if out, err := git.CombinedOutput(); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
}

// onAnInstance makes this process an instance of a region that is in no Auto
// Scaling group. It changes the environment, so its tests don't run beside others.
func onAnInstance(t *testing.T) *region.Region {
	t.Helper()
	r, err := region.New(t.Context(), region.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Handle(autoscaling.Name, autoscaling.Namespace, autoscaling.New(autoscaling.Options{Region: r.Name()}))
	meta, err := r.StartIMDS(t.Context(), imds.Options{Addr: "127.0.0.1:0", InstanceID: "i-0123456789abcdef0"})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": r.Endpoint(), "AWS_EC2_METADATA_SERVICE_ENDPOINT": meta.Endpoint(), "AWS_ACCESS_KEY_ID": "",
		"AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "",
		"BOOTAGENT_BOOT_ID": "boot", "BOOTAGENT_CONFIG": "",
	} {
		t.Setenv(name, value)
	}
	return r
}

func TestRunRefusesAWrongConfigurationForGood(t *testing.T) {
	onAnInstance(t)
	typo := file(t, "config.yaml", goodConfig+"drain_mim: 30s\n")
	command(t, "run", "--config", typo).expect(t, exitTerminal, nil, []string{
		typo + `:6:1: unknown key "drain_mim"; did you mean "drain_min"?`, "no launch hook waits"})
	command(t, "run", "--config", typo+".none").expect(t, exitTerminal, nil, []string{"there is no configuration at " + typo + ".none"})
}

// TestRunSaysAtOnceWhatIsWrong: finding out who the instance is takes a minute
// where IMDS does not answer, and nobody should look at an empty screen so long.
func TestRunSaysAtOnceWhatIsWrong(t *testing.T) {
	onAnInstance(t)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9") // discard: nobody is there
	typo := file(t, "config.yaml", goodConfig+"drain_mim: 30s\n")
	ctx, cancel := context.WithCancel(t.Context())
	said := &signalled{words: `did you mean "drain_min"?`, heard: cancel}
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"run", "--config", typo}, said, said) }()
	select {
	case code := <-ended:
		if code != exitTerminal {
			t.Errorf("exit code %d, not %d", code, exitTerminal)
		}
		if ctx.Err() == nil {
			t.Errorf("it ended without a word about the key: %s", said.text.String())
		}
	case <-time.After(40 * time.Second):
		t.Error("nothing was said for 40s")
		cancel()
		<-ended
	}
}

// signalled is an output that calls heard once the words are in it.
type signalled struct {
	mu    sync.Mutex
	text  bytes.Buffer
	words string
	heard func()
}

func (s *signalled) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	if strings.Contains(s.text.String(), s.words) {
		s.heard()
	}
	return len(p), nil
}
