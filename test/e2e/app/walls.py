"""What a build or the app can reach of what is not its own, found out by trying. As a program it is the build: it leaves
what it found in walls.json, and a daemon."""

import json
import os
import subprocess
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
METADATA = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}


def attempt(what):
    """Says what came of it: what was got, or the error."""
    try:
        return {"got": what()}
    except Exception as e:
        return {"error": "%s: %s" % (type(e).__name__, e)}


def fetch(url, method="GET", **headers):
    request = urllib.request.Request(url, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=3) as answer:
        return answer.read().decode()


def instance_credentials(host):
    """The whole way, as an SDK goes it."""
    token = fetch(host + "/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")
    roles = host + "/latest/meta-data/iam/security-credentials/"
    return fetch(roles + fetch(roles, X_aws_ec2_metadata_token=token), X_aws_ec2_metadata_token=token)


def curl(host):
    """The same by another program, from its first step on."""
    return subprocess.run(
        ["curl", "-sSg", "--noproxy", "*", "--max-time", "3", "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", host + "/latest/api/token"],
        check=True, capture_output=True, text=True).stdout


def role_credentials():
    """What a container's SDK does; https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html"""
    with open(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]) as file:
        token = file.read()
    return json.loads(fetch(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], Authorization=token))


def read(path):
    with open(path, "rb") as file:
        return file.read(100).decode("utf-8", "replace")


def write(path):
    with open(path, "w") as file:
        file.write("written")
    return path


def report():
    found = {"user": attempt(lambda: subprocess.check_output(["id", "-un"], text=True).strip())}
    for name, host in METADATA.items():
        found["credentials by " + name] = attempt(lambda host=host: instance_credentials(host))
        found["token by curl and " + name] = attempt(lambda host=host: curl(host))
    for path in ["/etc/shadow", "/srv/somebody-elses", "/var/lib/bootagent/home/secret"]:
        found["read " + path] = attempt(lambda path=path: read(path))
    for path in [HERE + "/new", HERE + "/app.py", HERE + "/../new", "/etc/new", "/var/lib/bootagent/new", "/run/bootagent/new"]:
        found["write " + os.path.normpath(path).replace(HERE, "app").replace(os.path.dirname(HERE), "release")] = attempt(lambda path=path: write(path))
    return found


def leave_daemon():
    """Leaves a process behind that has a session, a parent and an environment of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            write(HERE + "/daemon-was-there")
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            os.execve("/bin/sleep", ["sleep", "47114711"], {})
        os._exit(0)
    os.wait()
    while not os.path.exists(HERE + "/daemon-was-there"):
        time.sleep(0.01)


if __name__ == "__main__":
    subprocess.check_call(["cp", "app.py", "app.py.kept"])
    found = report()
    os.rename("app.py.kept", "app.py")  # it was its own to write
    leave_daemon()
    found["secrets"] = {"got": [name for name in os.environ if "PASSWORD" in name]}
    with open("walls.json", "w") as file:
        json.dump(found, file)
