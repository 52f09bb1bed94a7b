# SPDX-License-Identifier: Apache-2.0
"""Makes its output file something else: a link to a secret, a pipe that nobody writes to, a folder, a device."""

import os

from attacking import TOLD

role, name = TOLD["role"], "out.txt"
if role == "link":
    os.symlink(TOLD["canaries"][0], name)
elif role == "driver":
    os.symlink("/proc/self/environ", name)
elif role == "pipe":
    os.mkfifo(name)
elif role == "folder":
    os.mkdir(name)
elif role == "device":
    os.symlink("/dev/zero", name)
elif role == "hole":
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    os.truncate(fd, 200 << 20)
