package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region"
	"github.com/bootagent/bootagent/internal/region/autoscaling"
	"github.com/bootagent/bootagent/internal/region/imds"
)

// launched is an Auto Scaling group's launcher: whatever it launches, this process is it.
type launched chan autoscaling.Instance

func (l launched) Launch(_ context.Context, i autoscaling.Instance) (autoscaling.Machine, error) {
	select {
	case l <- i:
	default: // a replacement, in which nobody is interested
	}
	return &runs{done: make(chan struct{})}, nil
}

// runs is a machine that runs until it is terminated.
type runs struct {
	once sync.Once
	done chan struct{}
}

func (r *runs) Done() <-chan struct{} { return r.done }

func (r *runs) Terminate(context.Context) error {
	r.once.Do(func() { close(r.done) })
	return nil
}

// onAnInstance makes this process an instance: of a group with a launch hook, or of none. It changes the
// environment, so its tests don't run beside others.
func onAnInstance(t *testing.T, grouped bool) {
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
	launcher := make(launched, 1)
	groups := autoscaling.New(autoscaling.Options{Region: r.Name(), Launcher: launcher})
	r.Handle(autoscaling.Name, autoscaling.Namespace, groups)
	id := "i-0123456789abcdef0"
	if grouped {
		if err := groups.CreateGroup(autoscaling.GroupConfig{Name: "shop", Max: 1, Desired: 1,
			Hooks: []autoscaling.Hook{{Name: "boot", Transition: autoscaling.Launching}}}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := groups.Close(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
		id = (<-launcher).ID
	}
	meta, err := r.StartIMDS(t.Context(), imds.Options{Addr: "127.0.0.1:0", InstanceID: id})
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
}

func TestRunRefusesAWrongConfigurationForGood(t *testing.T) {
	onAnInstance(t, false)
	typo := file(t, "config.yaml", goodConfig+"drain_mim: 30s\n")
	command(t, "run", "--config", typo).expect(t, exitTerminal, nil, []string{
		typo + `:6:1: unknown key "drain_mim"; did you mean "drain_min"?`, "no launch hook waits"})
	command(t, "run", "--config", typo+".none").expect(t, exitTerminal, nil, []string{"there is no configuration at " + typo + ".none"})
}

func TestRunWithAWrongConfigurationAbandonsTheLaunch(t *testing.T) {
	onAnInstance(t, true)
	typo := file(t, "config.yaml", goodConfig+"drain_mim: 30s\n")
	command(t, "run", "--config", typo).expect(t, exitTerminal, nil, []string{
		`did you mean "drain_min"?`, "the launch hook boot was completed with ABANDON, so the Auto Scaling group replaces this instance"})
}

// TestRunSaysAtOnceWhatIsWrong: finding out who the instance is takes a minute
// where IMDS does not answer, and nobody should look at an empty screen so long.
func TestRunSaysAtOnceWhatIsWrong(t *testing.T) {
	onAnInstance(t, false)
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
