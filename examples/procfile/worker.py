"""A worker: it has no port, so it is not checked and takes no traffic."""

import signal
import threading

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
done = 0
while not stop.wait(10):
    done += 1
    print("jobs done:", done, flush=True)
print("stopping after", done, "jobs", flush=True)
