# SPDX-License-Identifier: Apache-2.0
"""Jobs that start when those before them have succeeded: what `scripts/submit.py` submits."""

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.cluster.submission import read_options
from open_r1.recipes import load_recipe

_TIMEOUT_S = 300.0  # sbatch itself has two minutes, and a script may submit an array and a merge
_SUBMITTED = re.compile(r"^Submitted batch job (\d+)", re.MULTILINE)
_KEYS = {"script", "name", "after", "args"}


class ChainError(Exception):
    """What can't be submitted, in words for the user."""


@dataclass(frozen=True)
class Stage:
    """One call of a script that submits itself.

    Args:
        name: What other stages call it.
        script: The script.
        words: Its arguments.
        after: Names of the stages that must have succeeded.
    """

    name: str
    script: Path
    words: tuple[str, ...]
    after: tuple[str, ...]

    def command(self, job_ids: Mapping[str, Sequence[str]], *words: str) -> list[str]:
        """Return the words that submit it behind these jobs of earlier stages."""
        before = [job_id for name in self.after for job_id in job_ids[name]]
        chain = [f"--sbatch=--dependency=afterok:{':'.join(before)} --kill-on-invalid-dep=yes"] if before else []
        # In front, where no flag that lacks its value takes them for it: a --dry-run that is lost would submit.
        return [str(self.script), *words, *chain, *self.words]

    @property
    def is_dry_run(self) -> bool:
        """Whether its own words ask for the commands alone: the jobs of a chain can't start without those before."""
        return not {"--dry-run", "--dry_run"}.isdisjoint(self.words)


def find_script(name: str, folder: Path) -> Path:
    """Return the script of a name such as `train` in a folder, or of a path.

    Raises:
        ChainError: There is none.
    """
    for path in (folder / f"{name}.slurm", Path(name).expanduser()):
        if path.is_file():
            return path.resolve()
    names = sorted(path.stem for path in folder.glob("*.slurm"))
    raise ChainError(f"{name!r} is no script to submit: give a path, or one of {', '.join(names)}")


def stages_of_words(words: Sequence[str], folder: Path) -> list[Stage]:
    """Return the stages of `--stage SCRIPT ARGUMENT... --stage ...`, each behind the one before.

    Args:
        words: The command line from the first --stage on.
        folder: Where scripts are that are called by their names.

    Raises:
        ChainError: There is no such script, or a stage names jobs itself that it waits for.
    """
    stages: list[Stage] = []
    starts = [index for index, word in enumerate(words) if word == "--stage"]
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        script, *arguments = words[start + 1 : end] or [""]
        if not script:
            raise ChainError("--stage needs the name of a script: --stage train --recipe ...")
        taken = [stage.name for stage in stages]
        name = next(text for text in _numbered(Path(script).stem) if text not in taken)
        stages.append(_checked(Stage(name, find_script(script, folder), tuple(arguments), tuple(taken[-1:]))))
    return stages


def stages_of_file(path: str, folder: Path) -> list[Stage]:
    """Return the stages that a file describes; `scripts/submit.py` shows one.

    Args:
        path: A YAML file.
        folder: Where scripts are that are called by their names.

    Raises:
        ChainError: The file can't be read, or isn't of this form, or a stage names jobs itself that it waits for.
    """
    try:
        content = load_recipe(path)
    except ValueError as error:
        raise ChainError(str(error)) from error
    entries = content.get("stages")
    if set(content) != {"stages"} or not isinstance(entries, list) or not entries:
        raise ChainError(f"{path} must have one key, stages, with a list of at least one stage")
    stages: list[Stage] = []
    for number, entry in enumerate(entries, start=1):
        stages.append(_stage_of(entry, f"{path}, stage {number}", [stage.name for stage in stages], folder))
    return stages


def _stage_of(entry: Any, where: str, names: Sequence[str], folder: Path) -> Stage:
    """Return the stage of an entry of a file, behind stages of these names."""
    if not isinstance(entry, dict) or not isinstance(entry.get("script"), str) or not entry.keys() <= _KEYS:
        raise ChainError(
            f"{where}: a stage has script and perhaps {', '.join(sorted(_KEYS - {'script'}))}; got {entry!r}"
        )
    name = str(entry.get("name", Path(entry["script"]).stem))
    if name in names:
        raise ChainError(f"{where}: an earlier stage is called {name!r} too: give this one another name")
    after = _words(entry.get("after", list(names[-1:])), f"{where}, after")
    if unknown := [other for other in after if other not in names]:
        raise ChainError(f"{where}: after has {', '.join(unknown)}; the stages above are {', '.join(names) or '-'}")
    words = _words(entry.get("args", []), f"{where}, args")
    return _checked(Stage(name, find_script(entry["script"], folder), words, after))


def _checked(stage: Stage) -> Stage:
    """Return a stage, and refuse one whose own --dependency would replace that on the stages before it."""
    own = [option for option in read_options(_sbatch_words(stage.words)) if option.name == "dependency"]
    if stage.after and own:
        raise ChainError(
            f"stage {stage.name} waits for {', '.join(stage.after)}, and sbatch takes one --dependency: "
            f"leave out {shlex.join(own[0].words)}, or let the stage wait for no other, "
            "`after: []` in a file"
        )
    return stage


def _sbatch_words(words: Sequence[str]) -> list[str]:
    """Return the words of all --sbatch of a script's arguments."""
    own = words[: words.index("--")] if "--" in words else words
    entries = [word.partition("=")[2] for word in own if word.startswith("--sbatch=")]
    entries += [value for word, value in itertools.pairwise(own) if word == "--sbatch"]
    try:
        return [word for entry in entries for word in shlex.split(entry)]
    except ValueError:  # a quote that is not closed, which the script refuses
        return []


def check(stages: Sequence[Stage]) -> dict[str, str]:
    """Return what each stage would start, by its own --dry-run.

    Raises:
        ChainError: Some stages can't work; the message has what each of them says.
    """
    imagined = {stage.name: [f"JOB_OF_{stage.name}"] for stage in stages}
    shown, refusals = {}, []
    for stage in stages:
        status, said, complaint = _call(stage.command(imagined, "--dry-run"))
        shown[stage.name] = said
        if status != 0:
            refusals.append(f"stage {stage.name} can't work:\n{_indented(complaint or said)}")
    if refusals:
        raise ChainError("\n".join([*refusals, "nothing was submitted"]))
    return shown


def submit(stages: Sequence[Stage]) -> Iterator[tuple[Stage, list[str]]]:
    """Submit all stages; yield each with the ids of its jobs.

    Raises:
        ChainError: One was not taken. The jobs before it are cancelled; the message says which, and what is left.
    """
    job_ids: dict[str, list[str]] = {}
    for stage in stages:
        try:
            status, said, complaint = _call(stage.command(job_ids))
        except KeyboardInterrupt:
            raise ChainError(
                f"stopped while stage {stage.name} was submitted: `squeue --me` shows whether it was\n"
                f"{_taken_back(job_ids)}"
            ) from None
        job_ids[stage.name] = _SUBMITTED.findall(said)
        if status != 0 or not job_ids[stage.name]:
            reason = complaint.strip() or said.strip() or "it printed no job id"
            raise ChainError(f"stage {stage.name} was not taken:\n{_indented(reason)}\n{_taken_back(job_ids)}")
        yield stage, job_ids[stage.name]


def _taken_back(job_ids: Mapping[str, Sequence[str]]) -> str:
    """Cancel jobs; return what became of them."""
    given = [job_id for ids in job_ids.values() for job_id in ids]
    if not given:
        return "no job is queued"
    status, _, complaint = _call(["scancel", *given])
    if status == 0:
        return f"cancelled what was submitted before: {' '.join(given)}"
    return f"these jobs are queued: {' '.join(given)}; scancel could not cancel them: {complaint.strip()}"


def _call(command: Sequence[str]) -> tuple[int, str, str]:
    """Run a command; return exit status, stdout and stderr."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout or ""
        return 124, said, f"no answer within {_TIMEOUT_S:.0f} s"
    return done.returncode, done.stdout, done.stderr


def _words(value: Any, where: str) -> tuple[str, ...]:
    """Return YAML's values as the words of a command line."""
    if not isinstance(value, list):
        raise ChainError(f"{where}: must be a list of words, [--flag, value]; got {value!r}")
    words = []
    for entry in value:
        if not isinstance(entry, str | int | float):
            raise ChainError(f"{where}: {entry!r} is no word: put it in quotes")
        words.append(str(entry).lower() if isinstance(entry, bool) else str(entry))
    return tuple(words)


def _numbered(name: str) -> list[str]:
    return [name, *(f"{name}-{number}" for number in range(2, 1000))]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())
