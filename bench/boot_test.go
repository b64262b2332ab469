package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/internal/region/wire"
	"github.com/bootagent/bootagent/internal/timeline"
)

func TestAnInstancesOwnOverheadIsWhatTheAppAndTheBalancerDoNotTake(t *testing.T) {
	t.Parallel()
	b := booted{whole: 10 * time.Second, build: 5 * time.Second, start: time.Second, balancer: 2 * time.Second}
	if got := b.own(); got != 2*time.Second {
		t.Errorf("got %s", got)
	}
}

func TestPhasesAreReadFromTheScriptsLog(t *testing.T) {
	t.Parallel()
	log := "hello\nuser-data: 100.000000 fetch\nuser-data: nothing else\n"
	if _, err := marks(log); err == nil || !strings.Contains(err.Error(), "no time") {
		t.Errorf("got %v", err)
	}
	log = "hello\nuser-data: 100.000000 fetch\nNote: a line\nuser-data: 100.250000 build\n"
	if _, err := marks(log); err == nil || !strings.Contains(err.Error(), `"build" last`) {
		t.Errorf("got %v", err)
	}
	got, err := marks(log + "user-data: 102.250000 done\n")
	if want := []phase{{"fetch", 250 * time.Millisecond}, {"build", 2 * time.Second}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestPhasesAreReadFromATimeline(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	got := spans([]timeline.Span{
		{Phase: "identify", Start: at(0), End: at(1)}, {Phase: "check", Start: at(1), End: at(3)}, {Phase: "check", Start: at(4), End: at(5)}, {Phase: "store", Start: at(5)},
	})
	want := []phase{{"identify", time.Second}, {"check", 3 * time.Second}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if got := covered([]timeline.Span{{Start: at(4), End: at(5)}, {Start: at(0), End: at(3)}, {Start: at(1), End: at(2)}, {Start: at(2), End: at(4)}, {Start: at(9)}}); got != 5*time.Second {
		t.Errorf("the phases cover %s", got)
	}
	if got, want := wherever([]booted{{phases: want}, {phases: want[:1]}, {phases: want}}), "identify 1.00 s, check 3.00 s"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestCallsAreStretchedToAnHour(t *testing.T) {
	t.Parallel()
	got := hourly([]wire.Record{{Service: "ssm", Operation: "GetParameters"}, {Service: "imds", Operation: "GET /"}, {Service: "ssm", Operation: "GetParameters"}}, time.Minute)
	if want := []hour{{"imds:GET /", 60}, {"ssm:GetParameters", 120}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAProcessesTimeAndMemoryAreRead(t *testing.T) {
	t.Parallel()
	// A name with a parenthesis and spaces in it, as a process may have.
	shell := filepath.Join(t.TempDir(), "a ) b")
	if err := os.Symlink("/bin/sh", shell); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(shell, "-c", `sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo; read x`)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); command.Wait() }()
	if _, err := out.Read(make([]byte, 1)); err != nil { // its child has ended
		t.Fatal(err)
	}
	pid := command.Process.Pid
	alone, err := processorTime(pid, false)
	if err != nil {
		t.Fatal(err)
	}
	family, err := processorTime(pid, true)
	if err != nil {
		t.Fatal(err)
	}
	if family < alone+10*time.Millisecond || family > time.Hour {
		t.Errorf("it took %s, and %s with its child", alone, family)
	}
	total, anonymous, err := residentSet(pid)
	if err != nil || anonymous <= 0 || total <= anonymous {
		t.Errorf("it has %d bytes, %d of them anonymous: %v", total, anonymous, err)
	}
}

// runScript runs the baseline with commands that only say they were called, but for those that are given.
func runScript(t *testing.T, commands map[string]string) (calls, output string, err error) {
	t.Helper()
	dir := t.TempDir()
	bin, log := filepath.Join(dir, "bin"), filepath.Join(dir, "calls")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{
		"curl": `case "$*" in *instance-id) echo i-1;; *token) echo t;; esac`,
		"aws":  `case "$1 $2" in "ssm get-parameter") echo v1;; "elbv2 describe-target-health") echo healthy;; esac`,
		"git":  `[ "$1" != init ] || mkdir -p "$3"`,
		"go":   `mkdir bin; echo 'true' >bin/hello; chmod +x bin/hello`,
	}
	for name, text := range commands {
		all[name] = text
	}
	for name, text := range all {
		text = "#!/bin/sh\necho " + name + ` "$*" >>` + log + "\n" + text + "\n"
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "baseline/user-data.sh")
	command.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "AWS_DEFAULT_REGION=r", "GROUP=g", "HOOK=h", "PARAMETER=/p", "REPOSITORY=http://x",
		"TARGET_GROUP=arn", "DIRECTORY=" + filepath.Join(dir, "app"), "PORT=1"}
	out, err := command.CombinedOutput()
	made, readErr := os.ReadFile(log)
	if readErr != nil {
		t.Fatal(readErr, string(out))
	}
	return string(made), string(out), err
}

func TestTheScriptRegistersOnlyWhatIsHealthyAndThenCompletesTheHook(t *testing.T) {
	t.Parallel()
	calls, output, err := runScript(t, nil)
	if err != nil {
		t.Fatal(err, output)
	}
	from := 0
	for _, want := range []string{"git fetch --quiet --depth 1 http://x v1", "go build", "/up", "aws elbv2 register-targets", "aws elbv2 describe-target-health",
		"aws autoscaling complete-lifecycle-action --auto-scaling-group-name g --lifecycle-hook-name h --instance-id i-1 --lifecycle-action-result CONTINUE"} {
		n := strings.Index(calls[from:], want)
		if n < 0 {
			t.Fatalf("%q does not come next in\n%s", want, calls)
		}
		from += n
	}
	got, err := marks(output)
	if err != nil || len(got) != 9 {
		t.Errorf("its log has %v, %v", got, err)
	}
}

func TestAScriptThatFailsAbandonsTheLaunch(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string]map[string]string{
		"the release can't be fetched": {"git": `[ "$1" != fetch ] || exit 1; mkdir -p "$3"`},
		"the build fails":              {"go": "exit 1"},
		"the parameter can't be read":  {"aws": `[ "$1" != ssm ] || exit 1`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls, output, err := runScript(t, commands)
			if err == nil || strings.Count(calls, "ABANDON") != 1 || strings.Contains(calls, "CONTINUE") || strings.Contains(calls, "register-targets") {
				t.Errorf("it ended with %v and called\n%s\nand printed\n%s", err, calls, output)
			}
		})
	}
}

func TestAnAWSCLIThatIsNamedMustBeThere(t *testing.T) {
	t.Parallel()
	if got, err := awsCLI(filepath.Join(t.TempDir(), "aws")); err == nil {
		t.Errorf("got %s", got)
	}
	named := filepath.Join(t.TempDir(), "aws")
	if err := os.WriteFile(named, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := awsCLI(named); err != nil || got != named {
		t.Errorf("got %s, %v", got, err)
	}
}
