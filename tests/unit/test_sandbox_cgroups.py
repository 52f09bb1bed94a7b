# SPDX-License-Identifier: Apache-2.0
"""Where this process's control groups are, read from the kernel's tables of several kinds of machine."""

from pathlib import Path

import pytest

from open_r1.sandbox.local.cgroups import own_folders

V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:2 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2_MOUNT = "42 32 0:29 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER_MOUNT = "35 31 0:32 /docker/ab12 /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "expected"),
    [
        (
            "9:name=systemd:/\n8:pids:/\n4:memory:/jobs/7\n2:cpu,cpuacct:/\n0::/\n",
            V1_MOUNTS,
            {
                "memory": "/sys/fs/cgroup/memory/jobs/7",
                "pids": "/sys/fs/cgroup/pids",
                "": "/sys/fs/cgroup/unified",
            },
        ),
        ("0::/user.slice/a:b.scope\n", V2_MOUNT, {"": "/sys/fs/cgroup/user.slice/a:b.scope"}),
        ("0::/\n", V2_MOUNT, {"": "/sys/fs/cgroup"}),
        ("4:memory:/docker/ab12\n", CONTAINER_MOUNT, {"memory": "/sys/fs/cgroup/memory"}),
        ("4:memory:/docker/ab12/job\n", CONTAINER_MOUNT, {"memory": "/sys/fs/cgroup/memory/job"}),
        ("4:memory:/docker/ab123\n", CONTAINER_MOUNT, {"memory": "/sys/fs/cgroup/memory"}),
        ("0::/../outside\n", V2_MOUNT, {"": "/sys/fs/cgroup"}),
        ("0::/\n", "", {}),
    ],
)
def test_own_group_is_found_by_mount_and_path(groups: str, mounts: str, expected: dict[str, str]) -> None:
    assert own_folders(groups, mounts) == {name: Path(folder) for name, folder in expected.items()}
