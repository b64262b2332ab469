package artifact

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Quietly does something on a thread of its own that yields to everything else on the machine, CPU and disk: the app is in service. The
// thread ends with it. That a kernel refuses it is no reason not to do it.
func Quietly(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: so the thread is not used again
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
		const process, idle = 1, 3 << 13 // IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE: ioprio_set(2)
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, process, 0, idle)
		done <- do()
	}()
	return <-done
}
