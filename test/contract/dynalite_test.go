package contract

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/rollout/storetest"
)

// startDynalite starts a DynamoDB in memory, which ends with the test, and gives its URL.
func startDynalite(t *testing.T) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, ".cache", "dynalite", "serve.js")
	if _, err := os.Stat(filepath.Join(filepath.Dir(program), "ready")); err != nil {
		leaveOut(t, "what dynalite says", fmt.Errorf("%w: run make test, which fetches it", err))
	}
	node, err := exec.LookPath("node")
	if err != nil {
		leaveOut(t, "what dynalite says", err)
	}
	cmd := exec.Command(node, program)
	var said strings.Builder
	cmd.Stderr = &said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	port, err := bufio.NewReader(stdout).ReadString('\n')
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("dynalite: %v; it said: %s", err, said.String())
		}
	})
	if err != nil {
		t.Fatalf("dynalite does not say its port: %v", err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}

func TestDynaliteKeepsTheRecords(t *testing.T) {
	t.Parallel()
	endpoint := startDynalite(t)
	makeTable(t, endpoint)
	adapter := tableOn(t, endpoint)
	adapter.NoTransactions = "dynalite has no transactions"
	storetest.Contract(t, adapter)
}
