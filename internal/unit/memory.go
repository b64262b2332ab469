package unit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Who goes first when memory runs out, by proc_pid_oom_score_adj(5): builds, then what yields, then the rest of the app,
// and the agent last. A thousand is as much as all of the machine's memory.
const (
	BackgroundScore = 500
	yieldScore      = 250
)

// YieldMemory lets processes go before others of the app when memory runs out, or stand with them again. What they start
// inherits it. Those that have ended are left out, and those that have chosen a score of their own (a browser's renderers do).
// It needs the right to write to them, and none to lower what was raised here: the kernel lets a score come back to base,
// with which they were started.
func YieldMemory(pids []int, base int, yields bool) error {
	from, to := strconv.Itoa(min(base+yieldScore, 1000)), strconv.Itoa(base)
	if yields {
		from, to = to, from
	}
	var errs []error
	for _, pid := range pids {
		path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
		now, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(now)) == from {
			err = os.WriteFile(path, []byte(to), 0)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("say when process %d goes if memory runs out: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}
