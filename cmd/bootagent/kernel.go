package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/bootagent/bootagent/internal/sockets"
)

// kernel is what the agent asks this machine's kernel.
type kernel struct{}

func (kernel) Listening() (map[int]bool, error) {
	all, err := sockets.Listeners()
	ports := make(map[int]bool, len(all))
	for _, l := range all {
		ports[l.Port] = true
	}
	return ports, err
}

func (kernel) Established(port int) (int, error) { return sockets.Established(port) }

// MemoryAvailable is the kernel's own estimate of what can be used without
// swapping (MemAvailable, since Linux 3.14).
func (kernel) MemoryAvailable() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read MemAvailable of /proc/meminfo: %w", err)
			}
			return kib << 10, nil
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}
