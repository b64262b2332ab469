"""What gunicorn reads by itself when it starts here."""

import os

bind = ":" + os.environ.get("PORT", "8080")
worker_class = "gthread"
workers = 2
threads = 8
# A balancer keeps connections to reuse them, an ALB for 60 s by default. It must be the one that closes them.
keepalive = 75
# After SIGTERM the requests in flight have that long, in seconds.
graceful_timeout = 15
accesslog = None
