# SPDX-License-Identifier: Apache-2.0
"""Requests as jobs for Piston: what it can't do, runtimes, files, limits."""

import base64
import math
from collections.abc import Mapping

from open_r1.sandbox.base import Limits, ProgramInput, RunRequest, UnsupportedRequestError
from open_r1.sandbox.languages import Language, find_language
from open_r1.sandbox.piston_client import Job

# Names of runtimes by our names, the best first: `javascript` may be Deno.
RUNTIMES = {
    "python": ("python", "python3", "py"),
    "cpp": ("c++", "cpp", "g++"),
    "javascript": ("node-javascript", "node-js", "javascript", "js"),
    "bash": ("bash", "sh"),
}
CPP_SUFFIXES = (".cpp", ".cc", ".cxx")
CPP_PRELUDE = '#pragma GCC optimize("O2")\n#define ONLINE_JUDGE 1\n#define EVAL 1\n#line 1 "{name}"\n'
# What prints as many characters as its input says.
PRINTERS = {
    "python": ("main.py", "print('x' * int(input()), end='')\n"),
    "cpp": (
        "main.cpp",
        "#include <cstdio>\nint main() { long n; for (scanf(\"%ld\", &n); n > 0; n--) putchar('x'); }\n",
    ),
    "javascript": ("main.js", "process.stdout.write('x'.repeat(Number(require('fs').readFileSync(0))));\n"),
    "bash": ("main.sh", "read -r n; head -c \"$n\" /dev/zero | tr '\\0' x\n"),
}
# Address space that node reserves and doesn't use.
NODE_RESERVE_MB = 1024


def runnable_language(request: RunRequest) -> Language:
    """Return the language of a request.

    Raises:
        UnsupportedLanguageError: There's none of this name.
        UnsupportedRequestError: Piston can't do this.
    """
    if request.interactor is not None:
        raise UnsupportedRequestError(
            "Piston runs one program at a time and no interactor: judge communication tasks by package cms_ioi "
            "(`judge_by_package`), or by ioi_provider local."
        )
    language = find_language(request.language)
    if language.name not in RUNTIMES:
        names = ", ".join(RUNTIMES)
        raise UnsupportedRequestError(f"Piston runs sources ({names}) and not {request.language!r}: send the sources.")
    if any(given.output_file is not None for given in request.inputs):
        raise UnsupportedRequestError(
            "Piston gives back standard output and no file: judge problems of input_mode `file` by package codeforces "
            "(`judge_by_package`), or by cf_provider local."
        )
    return language


def files_of(language: Language, files: Mapping[str, str | bytes]) -> list[dict[str, str]]:
    """Return files as Piston takes them; only sources go to the compiler, which would take any text for one."""
    sent = []
    for index, (name, content) in enumerate(files.items()):
        is_source = index == 0 or (language.name == "cpp" and name.endswith(CPP_SUFFIXES))
        if is_source and isinstance(content, bytes):
            content = content.decode(errors="replace")
        if is_source and language.name == "cpp":
            content = CPP_PRELUDE.format(name=name) + str(content).removeprefix("\ufeff")
        sent.append(send_file(name, content, is_source=is_source))
    return sent


def send_file(name: str, content: str | bytes, *, is_source: bool) -> dict[str, str]:
    """Return one file as Piston takes it: a source as text, anything else as data."""
    if is_source and isinstance(content, str):
        return {"name": name, "content": content, "encoding": "utf8"}
    data = content.encode(errors="replace") if isinstance(content, str) else content
    return {"name": name, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def job_of(language: Language, files: list[dict[str, str]], given: ProgramInput, request: RunRequest) -> Job:
    """Return the job of one input; `files` are those of the request."""
    reserve_mb = NODE_RESERVE_MB if language.name == "javascript" else 0
    settings, least = limit_fields(request.limits, request.compile_limits, reserve_mb)
    if not language.compile:
        settings = {name: value for name, value in settings.items() if name.startswith("run")}
    return Job(
        runtimes=RUNTIMES[language.name],
        files=[*files, *(send_file(name, content, is_source=False) for name, content in given.files.items())],
        stdin=given.stdin,
        args=given.args,
        limits=settings,
        least=least,
        # Texts come twice, alone and as `output`; a byte of them takes at most six in JSON.
        answer_bytes=(1 << 16) + 24 * (request.limits.output_bytes + request.compile_limits.output_bytes),
    )


def printing_job(request: RunRequest, num_chars: int) -> Job:
    """Return a job in the language of a request and under its limits that prints as many characters."""
    language = runnable_language(request)
    files = files_of(language, dict([PRINTERS[language.name]]))
    return job_of(language, files, ProgramInput(stdin=str(num_chars)), request)


def limit_fields(limits: Limits, compile_limits: Limits, reserve_mb: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the limits of a job, and down to where an endpoint may lower those by the clock."""
    fields: dict[str, int] = {}
    least: dict[str, int] = {}
    for stage, of_stage, more_mb in (("compile", compile_limits, 0), ("run", limits, reserve_mb)):
        cpu_ms = math.ceil(of_stage.cpu_s * 1000)
        fields[f"{stage}_timeout"] = max(1, math.ceil(of_stage.backstop_s * 1000))
        fields[f"{stage}_cpu_time"] = cpu_ms
        fields[f"{stage}_memory_limit"] = (of_stage.memory_mb + more_mb) << 20
        least[f"{stage}_timeout"] = min(cpu_ms, fields[f"{stage}_timeout"])
    return fields, least
