"""The app of these tests. It tells who asks too early: every request but the agent's checks is an early one, and is
refused, until this process has passed as many checks as its recipe asks for (health.successes)."""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from urllib.parse import parse_qs, urlparse

import walls

CHECKS = 2
RELEASE = os.environ["BOOTAGENT_RELEASE"]


def read(path):
    with open(path) as file:
        return file.read().strip()


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    passed = 0
    early = []

    def do_GET(self):
        url = urlparse(self.path)
        agent = self.client_address[0] == "127.0.0.1"
        if url.path == "/early":
            return self.answer(200, {"early": App.early, "passed": App.passed})
        with App.lock:
            if url.path == "/up" and agent:
                App.passed += 1
            elif App.passed < CHECKS:
                App.early.append("%s from %s" % (self.path, self.client_address[0]))
                print("EARLY", App.early[-1], flush=True)
                return self.answer(503, {"early": self.path})
        if url.path == "/walls":
            return self.answer(200, {"build": json.loads(read("walls.json")), "app": walls.report()})
        if url.path == "/role":
            return self.answer(200, walls.role_credentials())
        if url.path == "/password":
            return self.answer(200, {"password": os.environ.get("DATABASE_PASSWORD", "")})
        if url.path == "/keep":
            return self.answer(200, {"kept": walls.write(os.environ["HOME"] + "/secret")})
        wait = parse_qs(url.query).get("for", ["0ms"])[0]
        time.sleep(int(wait.removesuffix("ms")) / 1000)
        self.answer(200, {
            "release": RELEASE,
            "pid": os.getpid(),
            "built": read("built.txt"),
        })

    def answer(self, status, what):
        body = json.dumps(what).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Release", RELEASE)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        TCPServer.server_bind(self)  # HTTPServer's asks the DNS for a name, and there is none here


def main():
    time.sleep(float(os.environ.get("START_AFTER", "0")))
    server = Server(("", int(os.environ["PORT"])), App)
    App.timeout = 75
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("release", RELEASE, "listens", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
