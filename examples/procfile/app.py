"""A web app as people deploy it to Heroku: a Procfile, PORT, and nothing of bootagent's."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = "Hello from release {}, process {}\n".format(
            os.environ.get("BOOTAGENT_RELEASE", "none"), os.getpid()
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    # An idle connection must not keep the process alive. Requests in flight have ended by
    # then: bootagent sends SIGTERM once nobody is connected any more.
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        TCPServer.server_bind(self)  # HTTPServer's asks the DNS for its own name, which may take seconds


def main():
    server = Server(("", int(os.environ.get("PORT", "8080"))), Hello)
    Hello.timeout = 75  # seconds; longer than a balancer keeps an idle connection
    # shutdown() waits for serve_forever(), so it can't run on the thread that the signal interrupts.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("listening on port", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
