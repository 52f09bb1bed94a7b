# SPDX-License-Identifier: Apache-2.0
"""What `generate_reasoning` costs beside a plain aiohttp load generator and the openai client.

    python scripts/bench_generate.py --table assets/benchmarks/generate.md       # as `make bench_generate`
    python scripts/bench_generate.py --rounds 1 --contestants ours aiohttp

The stub server of the tests, in a process of its own, answers 2 kB after 1 s +- 0.3 s. Each contestant has a process
of its own, 256 requests in flight, and uvloop where it is installed; times are from first request to last answer.

ours      rows from the temporary file of prompts, requests, retries and deadlines, each answer in the journal
aiohttp   the same requests by `session.post`, answers parsed and dropped: what a load generator must do at least
openai    the same by `AsyncOpenAI().chat.completions.create`

They take turns within a round, in an order that changes; shares are of the same round. A contestant with a wrong
number or length of answers stops the benchmark. One run of the whole command is reported apart.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "tests" / "integration" / "fakes" / "chat_server.py"
CONTESTANTS = ("ours", "aiohttp", "openai")
LENGTH, MODEL = 2000, "stub/model"
TEXT = "A train leaves at noon and drives 80 km an hour; how far is it after two hours and a half? " * 3

Measured = dict[str, float]


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="default: all"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default: 5)")
    parser.add_argument("--requests", type=int, default=1280, help="requests of a turn (default: 1280)")
    parser.add_argument("--in-flight", type=int, default=256, help="requests at a time (default: 256)")
    parser.add_argument(
        "--latency-s", type=float, default=1.0, help="seconds of an answer, +- 30 percent (default: 1)"
    )
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--turn", nargs=2, metavar=("CONTESTANT", "ADDRESS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.rounds, args.requests, args.in_flight) < 1 or args.latency_s < 0:
        parser.error("--rounds, --requests and --in-flight must be at least 1, --latency-s at least 0")
    return args


def write_rows(path: Path, count: int) -> None:
    """Write the problems that all contestants ask for."""
    with path.open("w", encoding="utf-8") as lines:
        for number in range(count):
            lines.write(json.dumps({"uuid": f"row-{number}", "problem": f"Problem {number}. {TEXT}"}) + "\n")


async def ask_ours(address: str, count: int, in_flight: int) -> int:
    """Ask as the script does; return the number of right answers."""
    from open_r1.data.sources import open_source
    from open_r1.generation.client import ChatClient
    from open_r1.generation.engine import run_requests
    from open_r1.generation.journal import Journal
    from open_r1.generation.prompts import Prompts, PromptSettings, choose_rows
    from open_r1.generation.requests import Sampling

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", count)
        prompts = Prompts(folder)
        settings = PromptSettings("problem", uuid_column="uuid", template="{prompt}")
        prompts.read(open_source(str(folder / "rows.jsonl")), settings, count)
        async with ChatClient([address], Sampling(0.6, 0.95, max_tokens=4096), model=MODEL) as client:
            with Journal(folder / "generations.jsonl", {}) as journal, measured(count):
                await run_requests(
                    prompts.requests(choose_rows(count, None, None), 1), client, journal, max_concurrent=in_flight
                )
        prompts.close()
        with Journal(folder / "generations.jsonl", None) as journal:
            return sum(len(record["text"]) == LENGTH for record in journal.records())


async def ask_aiohttp(address: str, count: int, in_flight: int) -> int:
    """Ask by aiohttp alone; return the number of right answers."""
    import aiohttp

    url = f"http://{address}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> bool:
            async with session.post(url, json=body(number)) as response:
                value = await response.json()
                return len(value["choices"][0]["message"]["content"]) == LENGTH

        return await ask_all(ask, count, in_flight)


async def ask_openai(address: str, count: int, in_flight: int) -> int:
    """Ask by the openai client; return the number of right answers."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"http://{address}/v1", api_key="EMPTY", max_retries=0) as client:

        async def ask(number: int) -> bool:
            reply = await client.chat.completions.create(**body(number))
            return len(reply.choices[0].message.content) == LENGTH

        return await ask_all(ask, count, in_flight)


def body(number: int) -> dict[str, Any]:
    """Return the body of a request."""
    messages = [{"role": "user", "content": f"Problem {number}. {TEXT}"}]
    return {"model": MODEL, "messages": messages, "temperature": 0.6, "top_p": 0.95, "max_tokens": 4096}


async def ask_all(ask: Callable[[int], Awaitable[bool]], count: int, in_flight: int) -> int:
    """Ask for all numbers below `count`, so many at a time; return how many answers are right."""
    numbers = iter(range(count))

    async def work() -> int:
        return sum([await ask(number) for number in numbers])

    with measured(count):
        return sum(await asyncio.gather(*(work() for _ in range(in_flight))))


@contextmanager
def measured(count: int) -> Iterator[None]:
    """Print what the block took as a line of JSON: the turn's result, which the parent reads."""
    started, cpu = time.perf_counter(), time.process_time()
    yield
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"per_s": count / elapsed_s, "cpu_ms": 1000 * cpu_s / count, "peak_mb": peak_mb}), flush=True)


def take_turn(contestant: str, address: str, args: argparse.Namespace) -> None:
    """Be one contestant, in this process."""
    from open_r1.generation.engine import run

    contestants = {"ours": ask_ours, "aiohttp": ask_aiohttp, "openai": ask_openai}
    right = run(contestants[contestant](address, args.requests, args.in_flight))
    if right != args.requests:
        raise SystemExit(f"{contestant}: {right} right answers to {args.requests} requests")


def run_turn(contestant: str, address: str, args: argparse.Namespace) -> Measured:
    """Have a process take a turn."""
    command = [
        sys.executable,
        __file__,
        "--requests",
        str(args.requests),
        "--in-flight",
        str(args.in_flight),
        "--turn",
        contestant,
        address,
    ]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run_command(address: str, args: argparse.Namespace) -> Measured:
    """Run the whole command once, start-up, reading and writing of the data set among it."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.jsonl", args.requests)
        command = [
            sys.executable, str(ROOT / "scripts" / "generate_reasoning.py"), "--dataset-name", f"{folder}/rows.jsonl",
            "--prompt-column", "problem", "--uuid-column", "uuid", "--output-dir", f"{folder}/out", "--api-addr",
            address, "--num-generations", "1", "--max-concurrent", str(args.in_flight), "--max-tokens", "4096",
        ]  # fmt: skip
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        elapsed_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": elapsed_s, "cpu_s": cpu_s}


@contextmanager
def stub_server(latency_s: float) -> Iterator[str]:
    """Run the stub; give its address."""
    delays = ["--latency-s", str(latency_s), "--jitter-s", str(0.3 * latency_s)]
    command = [sys.executable, str(STUB), *delays, "--length", str(LENGTH)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def describe(turns: dict[str, list[Measured]], whole: Measured, args: argparse.Namespace) -> str:
    """Return the table."""
    lines = [
        "# Generation benchmark",
        "",
        f"Made by `python {' '.join(sys.argv)}`; {os.cpu_count()} cores, Python {platform.python_version()}; medians "
        f"of {args.rounds} rounds of {args.requests} requests, {args.in_flight} in flight; answers of 2 kB after "
        f"{args.latency_s:g} s +- 30 %. Reach at 256 in flight and 1 s: >= 0.95 of the throughput of plain "
        "aiohttp, <= 0.5 ms of CPU time a request.",
        "",
        "| | requests/s | share of aiohttp | its range | CPU ms a request | its range | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in turns.items():
        shares = [turn["per_s"] / other["per_s"] for turn, other in zip(own, turns.get("aiohttp", own), strict=True)]
        cpu = [turn["cpu_ms"] for turn in own]
        lines.append(
            f"| {name} | {statistics.median(turn['per_s'] for turn in own):.1f} "
            f"| {statistics.median(shares):.3f} | {min(shares):.3f} to {max(shares):.3f} "
            f"| {statistics.median(cpu):.2f} | {min(cpu):.2f} to {max(cpu):.2f} "
            f"| {statistics.median(turn['peak_mb'] for turn in own):.0f} |"
        )
    lines += [
        "",
        f"The whole command, once, from start-up to the published data set: {whole['seconds']:.1f} s, "
        f"{whole['cpu_s']:.1f} s of CPU time.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmark, or one turn of it."""
    args = parse_command_line()
    if args.turn:
        take_turn(args.turn[0], args.turn[1], args)
        return
    turns: dict[str, list[Measured]] = {name: [] for name in args.contestants}
    with stub_server(args.latency_s) as address:
        for number in range(args.rounds):
            names = (
                args.contestants[number % len(args.contestants) :] + args.contestants[: number % len(args.contestants)]
            )
            for name in names:
                turns[name].append(run_turn(name, address, args))
                print(f"round {number + 1}: {name} {turns[name][-1]}", file=sys.stderr)
        whole = run_command(address, args)
    text = describe(turns, whole, args)
    print(text)
    if args.table:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
