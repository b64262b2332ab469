package systemd

import "testing"

func TestAMachineThatRunsIsNotShuttingDown(t *testing.T) {
	machine(t)
	if down, err := stopping(t.Context()); down || err != nil {
		t.Errorf("got %v, %v", down, err)
	}
}

// TestWhereSystemdDidNotStartTheAgentNobodyIsAsked changes the environment, so it does not run beside others.
func TestWhereSystemdDidNotStartTheAgentNobodyIsAsked(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if down, err := ShuttingDown(t.Context()); down || err != nil {
		t.Errorf("got %v, %v", down, err)
	}
}
