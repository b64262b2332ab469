"""A small WSGI app that is deployed by bootagent: it greets, and says which release answers, and with what."""

import os
import sys
from pathlib import Path

import bottle

RELEASE = os.environ.get("BOOTAGENT_RELEASE", "none")
NAME = (Path(__file__).parent / "name.txt").read_text().strip()

app = bottle.Bottle()


@app.hook("after_request")
def who_answers():
    bottle.response.set_header("X-Release", RELEASE)


@app.get("/")
def index():
    return {
        "greeting": "{}, {}".format(os.environ.get("GREETING", "Hello"), NAME),
        "framework": "bottle " + bottle.__version__,
        "environment": sys.prefix,  # the virtual environment that the build made
        "release": RELEASE,
        "revision": os.environ.get("BOOTAGENT_REVISION", "none"),
        "instance": os.environ.get("BOOTAGENT_INSTANCE_ID", "none"),
        "process": os.getpid(),
    }


@app.get("/up")
def up():
    # A real app asks its database here, briefly.
    bottle.response.content_type = "text/plain"
    return "ok\n"
