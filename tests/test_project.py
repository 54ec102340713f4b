"""What holds for the project as a whole.

Which way imports point, what an import may do, and one version in one place.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("polcalc", "potentials", "md_runs")

# From the bottom to the top: a module imports from its own layer and from those below.
LAYERS = (
    # the packages themselves hold nothing; compiled code
    ("potentials", "potentials.ops._kernels", "polcalc.engines.native._native"),
    (
        "potentials.files",
        "potentials.processes",
        "potentials.quantities",
        "potentials.shipped",
        "potentials.card",
    ),
    ("potentials.contents", "potentials.deviations"),
    ("potentials.integrity",),
    ("potentials.ops.kernels", "potentials.ops.splines", "potentials.structure.pairs"),
    ("potentials.ops", "potentials.ops.stencils", "potentials.structure.graph"),
    ("potentials.structure", "potentials.structure.geometry"),
    ("potentials.parts",),
    ("potentials.terms",),
    ("potentials.architectures",),
    ("potentials.potential",),
    ("potentials.experts",),
    ("potentials.build",),
    ("potentials.checkpoint",),
    (
        "potentials.import_torchmd",
        "potentials.datasets",
        "potentials.labels",
        "potentials.training",
        "potentials.finetuning",
        "potentials.trust",
    ),
    ("polcalc.engines",),
    ("polcalc", "polcalc.calculator"),
    ("polcalc.interfaces",),
    ("md_runs",),
    ("md_runs.cli",),
)
ARCHITECTURE_MAY_IMPORT = {
    "potentials.structure.geometry",
    "potentials.parts.radial",
    "potentials.ops.kernels",
    "torch",
    "e3nn",
}
OPTIONAL = {
    "torch_cluster",
    "lightning",
    "tensorboard",
    "e3nn",
    "rdkit",
    "tblite",
    "pyscf",
    "pyarrow",
    "dask",
    "dask_jobqueue",
    "sella",
    "MDAnalysis",
    "torchmdnet",
    "yaml",
    "openmm",
    "torch_sim",
    "metatensor",
    "metatomic",
}
# need tensorboard, and a C++ compiler
OPTIONAL |= {"torch.utils.tensorboard", "torch._dynamo", "torch._functorch.config"}


class Import(NamedTuple):
    """One imported module, and where."""

    module: str  # who imports
    target: str  # what is imported
    line: int
    in_function: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def all_modules() -> list[str]:
    """Name every module of the three packages."""
    paths = sorted(
        path.relative_to(REPOSITORY)
        for package in PACKAGES
        for path in (REPOSITORY / package).rglob("*.py")
    )
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]


def source_of(module: str) -> Path:
    """Find the file of a module."""
    path = REPOSITORY.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports_of(module: str) -> list[Import]:
    """List what a module imports, at its top and in its functions.

    Imports for type checkers alone do not count.
    """
    return list(
        walk(ast.parse(source_of(module).read_text(encoding="utf-8")), module, in_function=False)
    )


def walk(node: ast.AST, module: str, *, in_function: bool) -> Iterator[Import]:
    """Go through a syntax tree, remembering whether we are inside a function."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    for target in targets(node, module):
        yield Import(module, target, node.lineno, in_function)  # type: ignore[attr-defined]
    inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from walk(child, module, in_function=inside)


def targets(node: ast.AST, module: str) -> list[str]:
    """Name the modules that one statement imports.

    ``from potentials import kernels`` means `potentials.ops.kernels`.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{module}:{node.lineno} has a relative import; write the full name"
    base = node.module or ""
    return [
        f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base
        for alias in node.names
    ]


def is_module(name: str) -> bool:
    """Whether a dotted name is one of our modules or extensions, not something inside one."""
    return name in {"potentials.ops._kernels", "polcalc.engines.native._native"} or (
        name.startswith(PACKAGES) and source_of(name).is_file()
    )


def layer_of(module: str) -> int:
    """Height of a module in the import diagram."""
    for height, names in enumerate(LAYERS):
        if module in names:
            return height
    parent = module.rpartition(".")[0]
    assert parent not in {
        "",
        "potentials",
    }, f"{module} has no layer: add it to LAYERS, where it belongs in the import diagram"
    return layer_of(parent)


@pytest.mark.parametrize("module", all_modules())
def test_imports_point_one_way(module: str) -> None:
    upwards = [
        str(i)
        for i in imports_of(module)
        if i.target.split(".")[0] in PACKAGES and layer_of(i.target) > layer_of(module)
    ]
    assert not upwards


@pytest.mark.parametrize(
    "module", [m for m in all_modules() if m.startswith("potentials.architectures.")]
)
def test_an_architecture_imports_only_geometry_radial_and_torch(module: str) -> None:
    found = {
        i.target
        for i in imports_of(module)
        if i.target.split(".")[0] not in sys.stdlib_module_names
    }
    foreign = {t for t in found if t not in ARCHITECTURE_MAY_IMPORT and not t.startswith("torch.")}
    assert not foreign


@pytest.mark.parametrize("module", all_modules())
def test_functions_import_optional_dependencies_alone(module: str) -> None:
    assert not [
        str(i)
        for i in imports_of(module)
        if i.in_function and not {i.target, i.target.split(".")[0]} & OPTIONAL
    ]


def test_imports_have_no_knots() -> None:
    """No module imports one that imports it, by whatever way."""
    modules = set(all_modules())
    needs = {m: {i.target for i in imports_of(m)} & modules - {m} for m in modules}
    assert len(list(TopologicalSorter(needs).static_order())) == len(modules)
    with pytest.raises(CycleError):
        list(
            TopologicalSorter(
                needs | {"potentials.files": {"md_runs.records.output"}}
            ).static_order()
        )


def test_rooms_are_small() -> None:
    """A room holds at most 15 modules."""
    rooms = Counter(source_of(module).parent for module in all_modules())
    assert not {str(room): n for room, n in rooms.items() if n > 1 + 15}  # and its __init__


def test_the_check_sees_an_import_inside_a_function() -> None:
    tree = ast.parse(
        "import torch\nif TYPE_CHECKING:\n    import polcalc\n"
        "def f():\n    from potentials.structure import graph\n"
    )
    assert [(i.target, i.in_function) for i in walk(tree, "m", in_function=False)] == [
        ("torch", False),
        ("potentials.structure.graph", True),
    ]
    assert (
        layer_of("md_runs.anything")
        > layer_of("polcalc.calculator.calculator")
        > layer_of("potentials.architectures.tensornet")
    )
    with pytest.raises(AssertionError, match="has no layer"):
        layer_of("potentials.somewhere_new")


SNAPSHOT = """
import importlib, os, random, sys
import numpy, torch, ase, h5py, matplotlib
for optional in ("lightning", "rdkit.Chem"):  # what these change themselves
    try:
        importlib.import_module(optional)
    except ImportError:
        pass

def state():
    return dict(
        environment=dict(os.environ), files=sorted(os.listdir()), hook=sys.excepthook,
        style=dict(matplotlib.rcParams), dtype=torch.get_default_dtype(),
        device=torch.get_default_device(), threads=torch.get_num_threads(),
        gradients=torch.is_grad_enabled(),
        deterministic=torch.are_deterministic_algorithms_enabled(),
        torch=torch.get_rng_state().tolist(), random=random.getstate(),
        numpy=repr(numpy.random.get_state()),
        errors=numpy.geterr(), printing=numpy.get_printoptions(),
    )

before = state()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] not in {optional!r}:
            raise
after = state()
changed = [key for key in before if before[key] != after[key]]
sys.exit(f"importing changed: {{', '.join(changed)}}" if changed else 0)
"""


def import_in_new_process(modules: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Import modules in a fresh interpreter, in an empty folder, and report what that changed."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n" + SNAPSHOT.format(
        optional=OPTIONAL
    )
    return subprocess.run(
        [sys.executable, "-c", code, *modules],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_importing_has_no_side_effect(tmp_path: Path) -> None:
    modules = [name for name in all_modules() if not name.endswith("__main__")]
    done = import_in_new_process(modules, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_check_sees_a_side_effect(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n")
    done = import_in_new_process(["careless"], tmp_path)
    assert (done.returncode, done.stderr.strip()) == (1, "importing changed: dtype")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """Return the metadata."""
    metadata: dict[str, Any] = tomllib.loads(
        (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    )["project"]
    return metadata


def test_the_version_stands_in_one_place(project: dict[str, Any]) -> None:
    assert f"\n## {project['version']}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    literal = re.compile(r"__version__\s*=\s*['\"]")
    assert not [
        module
        for module in all_modules()
        if literal.search(source_of(module).read_text(encoding="utf-8"))
    ]


def test_the_citation_names_this_version(project: dict[str, Any]) -> None:
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {project['version']}\n" in citation


def test_the_installed_version_is_this_one(project: dict[str, Any]) -> None:
    try:
        installed = importlib.metadata.version("polcalc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("polcalc is not installed; run `make test`")
    assert installed == project["version"]


def test_the_command_exists(project: dict[str, Any]) -> None:
    module, _, name = project["scripts"]["polcalc"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_command_runs_as_a_module(project: dict[str, Any]) -> None:
    words = [sys.executable, "-m", "md_runs.cli", "--version"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert project["version"] in done.stdout


def test_every_requirement_has_a_tested_version(project: dict[str, Any]) -> None:
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    needed = {normal(requirement) for requirements in lists for requirement in requirements} - {
        "polcalc"
    }
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(line) for line in lines if re.match(r"[\w.-]+==[\w.]+$", line)}
    assert needed <= pinned


def normal(requirement: str) -> str:
    """Project name of a requirement, as package indexes compare them."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=~! ]", requirement)[0]).lower()
