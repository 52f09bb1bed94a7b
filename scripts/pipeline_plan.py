# SPDX-License-Identifier: Apache-2.0
"""What a pipeline consists of, what of it is finished, and what has changed since. Runs nothing.

A stage is a command as one would type it; its recipe, its inputs and its output are read from its words:

    name: cold_start
    does: SFT on thousands of long chains of thought
    run: accelerate launch --config_file ... src/open_r1/sft.py --config recipes/DeepSeek-R1/sft/config_cold_start.yaml
    server: vllm serve data/...       # serves while the command runs, then is ended
    slurm: slurm/train.slurm ...      # the same as a job; {args} are the words behind the script in `run`
    only_named: true                  # runs when --stage names it, not by default

An input is a word, or a value in the recipe, that is a local path: it begins with data/, assets/, recipes/, a dot, a
slash or a tilde. It is a file of the user's, or lies in the output of an earlier stage.

A record of each stage (`<output_dir>/pipeline/<stage>.json`) keeps its words, the values of its recipe, and a digest
of every input and of the output. A digest is of contents, never of times: of files to 8 MB all of it, of larger ones
size, beginning, middle and end; of a trained model only what its manifest names, so that checkpoints may be deleted.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from open_r1.data.manifest import MANIFEST_NAME, missing_from, write_whole
from open_r1.recipes import load_recipe

TRAININGS = ("sft.py", "grpo.py")
DATA_SCRIPTS = ("generate_reasoning.py", "generate.py", "compute_pass_rate.py", "decontaminate.py", "curate.py")
STAGE_KEYS = {"name", "does", "run", "server", "slurm", "only_named"}
LOCAL_PREFIXES = ("data/", "assets/", "recipes/", "./", "../", "/", "~/")
NOT_INPUTS = {"output_dir", "hub_model_id"}
WHOLE_BYTES, SAMPLED_BYTES = 8 << 20, 1 << 20


class PipelineError(Exception):
    """What the pipeline can't do, as a message for the user."""


@dataclass(frozen=True)
class Stage:
    """A command of a pipeline.

    Attributes:
        name: Names it on the command line, and its record.
        does: What it is for, in a line.
        words: The command, overrides included.
        recipe_path: The file behind --config, if any.
        recipe: Its values.
        output: Folder that it writes.
        inputs: Local paths that it reads.
        server: Command that serves while it runs.
        slurm: Words of its job; None: the command itself is wrapped into one.
        only_named: Whether it runs only when it is named.
    """

    name: str
    does: str
    words: list[str]
    recipe_path: str | None
    recipe: dict[str, Any]
    output: Path
    inputs: list[str]
    server: list[str] | None
    slurm: list[str] | None
    only_named: bool

    @property
    def script(self) -> str:
        """File name of the script that is called."""
        return next((Path(word).name for word in self.words if word.endswith(".py")), self.words[0])

    def why_incomplete(self) -> str | None:
        """Say what is missing of the output, or None when it is complete."""
        if self.script in TRAININGS:
            return missing_from(self.output)
        whole = self.output / "card.json" if self.script in DATA_SCRIPTS else self.output
        return None if whole.exists() else f"there is no {whole}"


@dataclass
class Record:
    """What was run for a stage. A digest is None where the input was yet to be made when a job was submitted."""

    state: str  # started, submitted, finished
    words: list[str]
    recipe: dict[str, Any]
    inputs: dict[str, str | None]
    output: str | None = None
    job: str | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None


@dataclass(frozen=True)
class Pipeline:
    """Stages in their order, and where records of them lie."""

    output_dir: Path
    stages: list[Stage]

    def stage(self, name: str) -> Stage:
        """Return a stage by its name."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise PipelineError(f"There is no stage {name!r}; there are {', '.join(each.name for each in self.stages)}.")

    def maker_of(self, path: str) -> Stage | None:
        """Return the stage in whose output a path lies."""
        place = _resolved(path)
        return next((stage for stage in self.stages if place.is_relative_to(_resolved(stage.output))), None)

    def makers(self, stage: Stage) -> list[Stage]:
        """Return the stages whose outputs a stage reads, in their order."""
        found = {maker.name for path in stage.inputs if (maker := self.maker_of(path)) is not None}
        return [each for each in self.stages if each.name in found]

    def readers(self, name: str) -> list[Stage]:
        """Return a stage and all that depend on it."""
        found = {name}
        for stage in self.stages:  # an input is made by an earlier stage
            if found & {maker.name for maker in self.makers(stage)}:
                found.add(stage.name)
        return [stage for stage in self.stages if stage.name in found]

    def record_path(self, stage: Stage) -> Path:
        """Return where the record of a stage lies."""
        return self.output_dir / "pipeline" / f"{stage.name}.json"

    def read_record(self, stage: Stage) -> Record | None:
        """Return what was run for a stage, if anything."""
        path = self.record_path(stage)
        return Record(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write_record(self, stage: Stage, record: Record) -> None:
        """Keep what was run for a stage."""
        path = self.record_path(stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(record), indent=1, default=str) + "\n")

    def new_record(self, stage: Stage, state: str) -> Record:
        """Return the record of a stage as it stands now; an input that is yet to be made has no digest."""
        inputs: dict[str, str | None] = {}
        for path in stage.inputs:
            maker = self.maker_of(path)
            is_made = maker is None or maker.why_incomplete() is None
            inputs[path] = digest(Path(path).expanduser()) if is_made else None
        # As JSON keeps them, so that a record that was read compares equal.
        return Record(state, stage.words, json.loads(json.dumps(stage.recipe, default=str)), inputs)


@dataclass(frozen=True)
class Step:
    """A stage in a plan: `finished`, `queued`, `resume`, or `run`."""

    stage: Stage
    status: str
    record: Record | None = None
    changes: list[str] = field(default_factory=list)


def load_pipeline(path: Path, overrides: Sequence[str] = ()) -> Pipeline:
    """Read a pipeline's YAML and the recipes of its stages.

    Args:
        path: The file.
        overrides: `STAGE:NAME=VALUE`, put behind the command of the stage.

    Raises:
        PipelineError: A stage is incomplete, has no recipe, or reads what nobody makes.
    """
    try:
        content = load_recipe(path)
    except ValueError as error:
        raise PipelineError(str(error)) from error
    entries = content.get("stages")
    if "output_dir" not in content or not isinstance(entries, list) or not entries:
        raise PipelineError(f"{path} needs `output_dir` and a list of `stages`.")
    extra = _words_of_overrides(overrides, [str(entry.get("name")) for entry in entries])
    pipeline = Pipeline(
        Path(content["output_dir"]), [_load_stage(entry, extra.get(str(entry.get("name")), [])) for entry in entries]
    )
    _check_order(pipeline)
    return pipeline


def _load_stage(entry: Mapping[str, Any], extra: list[str]) -> Stage:
    name = str(entry.get("name"))
    unknown, missing = set(entry) - STAGE_KEYS, {"name", "does", "run"} - set(entry)
    if unknown or missing:
        raise PipelineError(f"Stage {name}: unknown keys {sorted(unknown)}, missing ones {sorted(missing)}.")
    words = with_overrides(shlex.split(entry["run"]), extra)
    recipe_path = value_behind(words, "--config") if any(word.endswith(".py") for word in words) else None
    script = next((Path(word).name for word in words if word.endswith(".py")), "")
    # The configuration of a data set has the same flag in generate_reasoning.py.
    if recipe_path is not None and Path(recipe_path).suffix not in (".yaml", ".yml"):
        recipe_path = None
    if script in TRAININGS and recipe_path is None:
        raise PipelineError(f"Stage {name} trains without a recipe: add --config <file>.yaml to its command.")
    try:
        recipe = {} if recipe_path is None else load_recipe(recipe_path)
    except ValueError as error:
        raise PipelineError(f"Stage {name}: {error}") from error
    output = value_behind(words, "--output_dir") or recipe.get("output_dir")
    if output is None:
        raise PipelineError(f"Stage {name} says no output: add --output_dir to its command.")
    server = shlex.split(entry["server"]) if "server" in entry else None
    if extra and "slurm" in entry and "{args}" not in entry["slurm"]:
        slurm = None
    else:
        behind = [index for index, word in enumerate(words) if word.endswith(".py")]
        args = shlex.join(words[behind[0] + 1 :]) if behind else ""
        slurm = shlex.split(entry["slurm"].replace("{args}", args)) if "slurm" in entry else None
    overridden = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    values = [value for key, value in recipe.items() if key not in overridden | NOT_INPUTS]
    texts = [*words, *(server or ()), *_texts_of(values)]
    return Stage(
        name=name,
        does=str(entry["does"]),
        words=words,
        recipe_path=recipe_path,
        recipe=recipe,
        output=Path(output),
        inputs=sorted(set(local_paths(texts)) - {str(output), str(recipe_path)}),
        server=server,
        slurm=slurm,
        only_named=bool(entry.get("only_named", False)),
    )


def value_behind(words: Sequence[str], flag: str) -> str | None:
    """Return the last value of a flag, with dashes or underscores, behind a space or an equals sign."""
    found = None
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == flag.replace("-", "_"):
            found = value if equals else words[index + 1] if index + 1 < len(words) else None
    return found


def with_overrides(words: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Return a command with other values for some flags, which a script takes only once.

    >>> with_overrides(["python", "a.py", "--steps", "9", "--input", "b", "c"], ["--steps", "2", "--seed", "1"])
    ['python', 'a.py', '--input', 'b', 'c', '--steps', '2', '--seed', '1']
    """
    replaced = {word.replace("-", "_") for word in extra[::2]}
    kept: list[str] = []
    is_kept = True
    for word in words:
        if word.startswith("--"):
            is_kept = word.partition("=")[0].replace("-", "_") not in replaced
        if is_kept:
            kept.append(word)
    return [*kept, *extra]


def _words_of_overrides(overrides: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for text in overrides:
        stage, colon, setting = text.partition(":")
        name, equals, value = setting.partition("=")
        if not colon or not equals or stage not in names:
            raise PipelineError(f"--override {text}: expected STAGE:NAME=VALUE with STAGE one of {', '.join(names)}.")
        words.setdefault(stage, []).extend([f"--{name}", value])
    return words


def _texts_of(value: Any) -> Iterator[str]:
    """Yield all texts in a value of a recipe, but prompts."""
    if isinstance(value, str) and "\n" not in value:
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts_of(each)


def local_paths(texts: Sequence[str]) -> Iterator[str]:
    """Yield the local paths in words and values.

    >>> list(local_paths(["summary_only(recipes/demo/preferences.py:helpful)", "--input=data/a", "org/model", "</a>"]))
    ['recipes/demo/preferences.py', 'data/a']
    """
    for text in texts:
        for token in re.split(r"[\s()=,]+", text):
            path = re.sub(r"\.py:\w+$", ".py", token)
            if path.startswith(LOCAL_PREFIXES):
                yield path


def _check_order(pipeline: Pipeline) -> None:
    """Refuse two stages of one name or output, and an input that a later stage makes."""
    for number, stage in enumerate(pipeline.stages):
        for other in pipeline.stages[:number]:
            if other.name == stage.name or _resolved(other.output) == _resolved(stage.output):
                raise PipelineError(f"Stages {other.name} and {stage.name} have the same name or output.")
        for maker in pipeline.makers(stage):
            if pipeline.stages.index(maker) >= number:
                raise PipelineError(f"Stage {stage.name} reads the output of {maker.name}, which comes later.")


def make_plan(pipeline: Pipeline, chosen: Sequence[Stage]) -> list[Step]:
    """Return what is to be done for the chosen stages, each finished one skipped.

    Raises:
        PipelineError: An input is missing, or a stage that is finished (chosen, or needed by a chosen one) has
            changed. All of these are listed.
    """
    needed = {stage.name for stage in chosen}
    for stage in reversed(pipeline.stages):
        if stage.name in needed:
            needed |= {maker.name for maker in pipeline.makers(stage)}
    steps = {stage.name: _step_of(pipeline, stage) for stage in pipeline.stages if stage.name in needed}
    faults = []
    for name, step in steps.items():
        if step.changes:
            faults.append(f"Stage {name} has changed since it was run: {'; '.join(step.changes)}.")
    for stage in chosen:
        if steps[stage.name].status != "finished":
            faults += _missing_inputs(pipeline, stage, steps, {each.name for each in chosen})
    if faults:
        hint = ""
        if any(step.changes for step in steps.values()):
            hint = (
                "\n--redo STAGE puts its output and those of all stages that depend on it aside and runs them anew; "
                "--accept STAGE takes what it has made for the result of what it says now."
            )
        raise PipelineError("\n".join(faults) + hint)
    return [steps[stage.name] for stage in chosen]


def _missing_inputs(pipeline: Pipeline, stage: Stage, steps: Mapping[str, Step], chosen: set[str]) -> Iterator[str]:
    for path in stage.inputs:
        maker = pipeline.maker_of(path)
        if maker is None:
            if not Path(path).expanduser().exists():
                yield f"Stage {stage.name} reads {path}, which is not there, and no stage makes it."
        elif maker.name not in chosen and steps[maker.name].status not in ("finished", "queued"):
            yield f"Stage {stage.name} reads {path}: run stage {maker.name} first, which is not finished."


def _step_of(pipeline: Pipeline, stage: Stage) -> Step:
    record = pipeline.read_record(stage)
    if record is None:
        return Step(stage, "run")
    if record.state == "finished" and not stage.output.exists():
        return Step(stage, "run")
    changes = changes_since(record, pipeline.new_record(stage, record.state))
    if record.state == "finished":
        return Step(stage, "finished", record, changes)
    if record.state == "submitted":
        return Step(stage, "finished" if stage.why_incomplete() is None else "queued", record, changes)
    return Step(stage, "resume", record, changes if stage.output.exists() else [])


def changes_since(old: Record, new: Record) -> list[str]:
    """Say what differs between two records: words of the command, values of the recipe, contents of inputs."""
    found = []
    if old.words != new.words:
        found.append(f"its command was `{shlex.join(old.words)}`")
    for key in sorted(set(old.recipe) | set(new.recipe)):
        if old.recipe.get(key) != new.recipe.get(key):
            found.append(f"`{key}` in its recipe was {old.recipe.get(key)!r}, is {new.recipe.get(key)!r}")
    for path in sorted(set(old.inputs) & set(new.inputs)):
        if old.inputs[path] is not None and old.inputs[path] != new.inputs[path]:
            what = "is being made anew" if new.inputs[path] is None else "has other contents"
            found.append(f"its input {path} {what}")
    return found


def digest(path: Path) -> str:
    """Return a digest of the contents of a file or folder, with the names in it."""
    hashed = hashlib.sha256()
    if path.is_file():
        _add_file(hashed, path)
        return hashed.hexdigest()
    names = sorted(str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_file())
    if (path / MANIFEST_NAME).is_file():
        names = sorted(json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8"))["files"])
    for name in names:
        hashed.update(name.encode())
        _add_file(hashed, path / name)
    return hashed.hexdigest()


def _add_file(hashed: Any, path: Path) -> None:
    size = path.stat().st_size
    hashed.update(f" {size} ".encode())
    with path.open("rb") as stream:
        if size <= WHOLE_BYTES:
            hashed.update(stream.read())
            return
        for start in (0, size // 2, size - SAMPLED_BYTES):
            stream.seek(start)
            hashed.update(stream.read(SAMPLED_BYTES))


def _resolved(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()
