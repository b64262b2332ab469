package unit

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestAScoreThatAProcessChoseForItselfStays(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Skipf("LEFT OUT: %v", err)
	}
	base, err := strconv.Atoi(strings.TrimSpace(string(own)))
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	path := fmt.Sprintf("/proc/%d/oom_score_adj", child.Process.Pid)
	chosen := fmt.Sprintln(base + 77)
	if err := os.WriteFile(path, []byte(chosen), 0); err != nil {
		t.Fatal(err)
	}
	for _, yields := range []bool{true, false} {
		if err := YieldMemory([]int{child.Process.Pid}, base, yields); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != chosen {
			t.Errorf("yields %t: %q, %v", yields, got, err)
		}
	}
}
