# SPDX-License-Identifier: Apache-2.0
"""What setup.py, the lock, the Makefile and the tree promise to each other."""

import ast
import re
import runpy
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "open_r1"
SCRIPTS = ROOT / "scripts"
SOURCES = sorted([*PACKAGE.rglob("*.py"), *SCRIPTS.rglob("*.py")])

# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {
    "dotenv": "python-dotenv",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
    "yaml": "pyyaml",
}

# Modules that need an extra at their top: they import one another, all else imports them inside a function.
EXTRA_MODULES = {
    PACKAGE / "evaluation" / "inspect_log.py",
}

# Spelt in two pieces, so that this file does not name them itself.
REGISTRY_HOSTS = [name + end for name, end in [("pypi", ".org"), ("pythonhosted", ".org"), ("npmjs", ".org")]]
MACHINE_PATH = re.compile(r"(?<![\w.$}~<>/-])/(?:root|home|work|fsx|Users|opt)/\w")


@pytest.fixture
def distribution(monkeypatch):
    """The arguments with which setup.py calls setup()."""
    arguments = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return arguments


def parse_all(requirements):
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, requirements)}


@pytest.fixture
def core(distribution):
    return parse_all(distribution["install_requires"])


@pytest.fixture
def extras(distribution):
    return parse_all(line for lines in distribution["extras_require"].values() for line in lines)


@pytest.fixture
def lock():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pins}


def tracked_files():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path):
    """The text of a file, or an empty one for pictures and other binary files."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def third_party_imports(path):
    """Yield (distribution, whether the import is at the top) for what neither Python nor this repository has."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_the_top = {id(node) for node in tree.body}
    ours = {"open_r1", "scripts", "tests"} | {script.stem for script in SCRIPTS.glob("*.py")}
    ours |= {program.stem for program in PACKAGE.rglob("harness/*.py")}  # in a box they lie side by side
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top not in ours:
                yield canonicalize_name(DISTRIBUTIONS.get(top, top)), id(node) in at_the_top


def undeclared(path, core, extras):
    """Yield what a file imports and setup.py does not have there: a line each."""
    name = path.relative_to(ROOT)
    for package, at_the_top in third_party_imports(path):
        if package not in core and package not in extras:
            yield f"{name}: {package} is not in setup.py"
        elif package not in core and at_the_top and path not in EXTRA_MODULES:
            yield f"{name}: {package} comes with an extra: import it inside the function that uses it"


def test_every_import_is_declared(core, extras):
    assert [line for path in SOURCES for line in undeclared(path, core, extras)] == []


def test_every_requirement_is_locked_at_a_version_it_allows(core, extras, lock):
    for name, requirement in {**extras, **core}.items():
        assert name in lock, f"{name} is missing in constraints.txt"
        assert requirement.specifier.contains(lock[name]), f"{requirement} does not allow the locked {lock[name]}"


def test_the_installed_stack_is_the_locked_one(lock):
    from importlib.metadata import version

    for name in ("torch", "transformers", "trl", "accelerate", "datasets", "peft", "math-verify", "huggingface-hub"):
        assert Version(version(name)).public == str(lock[name]), f"{name}: run make install"


def test_packages_are_all_found(distribution):
    folders = {path.parent.relative_to(ROOT / "src") for path in PACKAGE.rglob("*.py")}
    missing = {str(folder) for folder in folders} - {name.replace(".", "/") for name in distribution["packages"]}
    assert not missing, f"no __init__.py in {sorted(missing)}"


# `accelerate launch src/open_r1/grpo.py` puts src/open_r1 first on sys.path: what lies there shadows the rest.
def test_no_module_shadows_another(core, extras):
    entries = [path for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()]
    beside_scripts = {path.stem for path in entries if not path.stem.startswith("__")}
    declared = {name.replace("-", "_") for name in {**core, **extras}} | set(DISTRIBUTIONS)
    assert not beside_scripts & (set(packages_distributions()) | sys.stdlib_module_names | declared)
    # Further down none comes first, but programs for a box lie side by side, and readers expect the standard one.
    assert not [path for path in PACKAGE.rglob("*.py") if path.stem in sys.stdlib_module_names]


def test_makefile_calls_scripts_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    missing = [name for name in re.findall(r"scripts/\w+\.\w+", makefile) if not (ROOT / name).exists()]
    assert not missing


def test_code_files_begin_with_the_licence():
    offenders = []
    for path in tracked_files():
        if path.suffix in {".py", ".sh", ".slurm"} or path == ROOT / ".ci" / "run":
            first = [line for line in text_of(path).splitlines() if not line.startswith("#!")][:1]
            if first != ["# SPDX-License-Identifier: Apache-2.0"]:
                offenders.append(str(path.relative_to(ROOT)))
    assert offenders == []


def test_no_file_names_a_machine_or_a_package_registry():
    for path in tracked_files():
        if path.name in {"LICENSE"}:
            continue
        text = text_of(path)
        assert not [host for host in REGISTRY_HOSTS if host in text], path
        assert not MACHINE_PATH.search(text), f"{path}: {MACHINE_PATH.search(text).group()}"


def test_shell_scripts_can_be_run():
    for path in tracked_files():
        if text_of(path).startswith("#!"):
            assert path.stat().st_mode & 0o100, f"{path} is not executable"


def test_modules_that_need_an_extra_are_imported_where_they_are_used():
    names = {".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in EXTRA_MODULES}
    importers = set()
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = {prefix[:-1], *(prefix + alias.name for alias in node.names)}
                importers |= {path} if names & imported else set()
    assert importers <= EXTRA_MODULES
