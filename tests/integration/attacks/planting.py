# SPDX-License-Identifier: Apache-2.0
"""In the first run plants whatever a later run might load or stumble over; in later ones looks for it."""

import contextlib
import os
import site
import stat
import sys

from attacking import TOLD, broken, report

MARK = "planted"
PLACES = (
    ".",
    "..",
    os.environ.get("HOME", "."),
    os.environ.get("TMPDIR", "/tmp"),
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    os.path.dirname(os.path.abspath(__file__)),
    site.getusersitepackages(),
    *sys.path,
    "/dev/mqueue",
    "/run/lock",
    os.path.join(os.getcwd(), "..", "shm"),
    os.path.join(os.getcwd(), "..", "tmp"),
)
NAMES = (
    "sitecustomize.py",
    "usercustomize.py",
    "json.py",
    "x.pth",
    ".bashrc",
    "driver.py",
    "input.txt",
    "a.out",
    MARK,
)


def plant():
    for place in PLACES:
        with contextlib.suppress(OSError):
            os.makedirs(place, exist_ok=True)
        for name in NAMES:
            with contextlib.suppress(OSError), open(os.path.join(place, name), "x") as file:
                file.write("print('planted')\n")
    for path in (__file__, "attacking.py"):
        for change in (
            lambda: os.chmod(path, 0o777),
            lambda: open(path, "a").write("print('planted')"),
            lambda: os.rename(path, path + ".old"),
            lambda: os.symlink("/dev/null", path),
        ):
            with contextlib.suppress(OSError):
                change()
    with contextlib.suppress(OSError):
        os.makedirs("__pycache__", exist_ok=True)
        open("__pycache__/attacking.cpython-311.pyc", "wb").write(b"planted")
    bury()


def bury():
    """Make what is hard to remove: long paths, closed folders, odd names, many links."""
    with contextlib.suppress(OSError):
        os.mkfifo("pipe")
        os.symlink("/", "all")
        os.symlink("..", "up")
        open("\n\udcff *?", "w").close()
        os.mkdir("closed")
        open("closed/in", "w").close()
        os.chmod("closed", 0)
    with contextlib.suppress(OSError):
        for _ in range(15):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
            open(MARK, "w").close()


def look():
    if stat.S_IMODE(os.stat(__file__).st_mode) & 0o222:
        broken("the program's file can be written")
    for place in PLACES:
        for name in NAMES:
            path = os.path.join(place, name)
            with contextlib.suppress(OSError), open(path) as file:
                if "planted" in file.read(200):
                    broken(f"{path} is left")
    for name in ("pipe", "all", "up", "closed", "d" * 200, "__pycache__"):
        if os.path.lexists(name):
            broken(f"{name} is left")
    if "planted" in open("attacking.py").read():
        broken("a file of the program is changed")


if TOLD["role"] == "plant":
    plant()
else:
    look()
report()
