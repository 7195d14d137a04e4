"""Installs what tests start, where it is missing: `python3 tools/servers.py`.

Redis, PostgreSQL and Chromium come from Debian's packages; tests start them themselves, in folders
of their own. As root on Debian or Ubuntu this installs them; elsewhere it says what is missing, and
the tests that need it say that they are skipped. In CI a missing one is an error. Standard library
only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def has_redis() -> bool:
    """Is there a Redis server?"""
    return shutil.which("redis-server") is not None


def has_postgres() -> bool:
    """Is there a PostgreSQL server? Debian keeps it out of the PATH."""
    places = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return shutil.which("initdb") is not None or any(places)


def has_chromium() -> bool:
    """Is there a browser for the tests of the console?"""
    return shutil.which("chromium") is not None


SERVERS = {"redis-server": has_redis, "postgresql": has_postgres, "chromium": has_chromium}
"""Debian package → is it there?"""


def missing() -> list[str]:
    """Packages that are not there."""
    return [package for package, there in SERVERS.items() if not there()]


def install(packages: list[str]) -> None:
    """Asks apt for them; what goes wrong is seen by looking again."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print(f"apt-get install {' '.join(packages)}", flush=True)
    words = ["apt-get", "install", "--yes", "--no-install-recommends", "-qq", *packages]
    for command in (["apt-get", "update", "-qq"], words):
        subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)


def main() -> int:
    """Installs what is missing where that can be done; returns the exit code."""
    packages = missing()
    if packages and shutil.which("apt-get") and os.geteuid() == 0:
        install(packages)
        packages = missing()
    if packages:
        print(f"not installed: {', '.join(packages)}; tests that need them will be skipped")
    return 1 if packages and os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
