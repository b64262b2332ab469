package agent

import ("context")

type monitor struct{}
func (a *Agent) monitorService(w *world) {}
func (a *Agent) check(ctx context.Context, on scene, s Check) error { return nil }
