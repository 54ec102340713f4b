"""Hand malformed arguments to the compiled modules: an answer or an error, never a crash.

Every case starts from good arguments of a random size and spoils some of them: other numbers,
shapes, strides and byte orders, indices out of range, arrays that are missing or swapped, settings
of every sort, calls in the wrong order. One in eight is left as it is. A case is told by its number
alone, so that a crash can be repeated. The modules are loaded by themselves, so that a build with
AddressSanitizer needs neither torch nor ASE:

    python -m benchmarks.physics.malformed --sanitize --cases 3000
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).parents[2]
MODULES = {
    "_kernels": REPOSITORY / "potentials/ops",
    "_native": REPOSITORY / "polcalc/engines/native",
}
SANITIZER = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=vptr"
REFUSALS = (ValueError, TypeError, KeyError, IndexError, MemoryError, RuntimeError, OverflowError)

Rng = np.random.Generator
Spoil = Callable[[Rng, Any], Any]


def main() -> None:
    """Run the cases, in this process or in one with a sanitized build."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000, help="of each module")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--folder", type=Path, help="where builds of the modules lie")
    parser.add_argument("--sanitize", action="store_true", help="build with AddressSanitizer first")
    asked = parser.parse_args()
    if asked.sanitize:
        with tempfile.TemporaryDirectory() as folder:
            build_sanitized(Path(folder))
            sys.exit(run_sanitized(Path(folder), asked.cases, asked.first))
    found = {name: run(name, load(name, asked.folder), asked.first, asked.cases) for name in CASES}
    print(json.dumps(found, indent=1))


def run(name: str, module: ModuleType, first: int, cases: int) -> dict[str, int]:
    """Count how the cases of a module ended."""
    ends: Counter[str] = Counter()
    for number in range(first, first + cases):
        try:
            with np.errstate(all="ignore"):
                CASES[name](module, np.random.default_rng(number))
            ends["answered"] += 1
        except REFUSALS as error:
            ends[type(error).__name__] += 1
        except BaseException:
            print(f"{name}: case {number} ended in no error that a caller expects", flush=True)
            raise
    return dict(ends)


def load(name: str, folder: Path | None = None) -> ModuleType:
    """Import a compiled module alone, without the package that it lies in."""
    files = sorted((folder or MODULES[name]).rglob(f"{name}.*.so"))
    if not files:
        raise ImportError(f"{name} is not compiled")
    spec = importlib.util.spec_from_file_location(name, files[0])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_sanitized(folder: Path) -> None:
    """Compile both modules with AddressSanitizer and checks of undefined behaviour."""
    where = ["--build-lib", str(folder), "--build-temp", str(folder / "objects")]
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", *where],
        cwd=REPOSITORY,
        env=os.environ | {"CFLAGS": SANITIZER, "LDFLAGS": "-fsanitize=address,undefined"},
        check=True,
    )


def run_sanitized(folder: Path, cases: int, first: int) -> int:
    """Run the cases with the build in a folder, with the sanitizer loaded before Python."""
    libraries = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")  # the latter throws what the former watches
    ]
    options = {
        "LD_PRELOAD": ":".join(libraries),
        # Python itself leaks by design; numbers beyond memory are refused, not fatal
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4096",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, __file__, "--folder", str(folder)]
    command += ["--cases", str(cases), "--first", str(first)]
    return subprocess.run(command, env=os.environ | options).returncode


# ---- how an argument is spoiled


def other_numbers(rng: Rng, x: Any) -> Any:
    """Convert to other numbers, with rounding or another byte order."""
    kinds = ["float32", "float64", "float16", "int32", "int64", "uint8", "bool", "complex64"]
    return np.asarray(x).astype(rng.choice([*kinds, "object", ">f8", ">i8", "S4", "uint64"]))


def other_shape(rng: Rng, x: Any) -> Any:
    """Cut, lengthen, flatten, transpose or empty an array."""
    x = np.asarray(x)
    if x.ndim == 0:
        return x[None]
    axis = int(rng.integers(x.ndim))
    return [
        x.take(range(max(x.shape[axis] - 1, 0)), axis),
        np.concatenate([x, x], axis),
        x.ravel(),
        x.T.copy(),
        x[None],
        x.take([], axis),
        np.zeros(()),
    ][rng.integers(7)]


def other_strides(rng: Rng, x: Any) -> Any:
    """The same numbers, but not one behind the other, or not where a number may begin."""
    x = np.asarray(x)
    if x.ndim == 0 or x.dtype.hasobject:
        return x
    spread = np.repeat(x, 2, axis=-1)[..., ::2]
    shifted = np.frombuffer(b"x" + x.tobytes(), dtype=np.uint8)[1:].view(x.dtype).reshape(x.shape)
    return [spread, np.asfortranarray(x), x[::-1], shifted, np.broadcast_to(x[:1], x.shape)][
        rng.integers(5)
    ]


def other_values(rng: Rng, x: Any) -> Any:
    """Put a number somewhere that is out of range, or not a number."""
    x = np.array(x)
    if x.size == 0 or x.dtype.kind not in "iuf":
        return x
    whole = [-1, 1 << 20, 1 << 40, -(1 << 62), (1 << 63) - 1, x.size]
    with np.errstate(all="ignore"):
        bad = rng.choice(whole) if x.dtype.kind != "f" else rng.choice([np.nan, np.inf, 1e300, -1])
        x.flat[rng.integers(x.size)] = np.array(bad).astype(x.dtype)
    return x


def no_array(rng: Rng, x: Any) -> Any:
    """Give something that is no array."""
    nothing: list[Any] = [None, 3, -1, 1.5, "x", [], [[1], [2, 3]], {}, np.nan, 1 << 70, object()]
    return nothing[rng.integers(len(nothing))]


def constant(rng: Rng, x: Any) -> Any:
    """Forbid to write."""
    x = np.array(x)
    x.flags.writeable = False
    return x


SPOILS: list[Spoil] = [
    other_numbers,
    other_shape,
    other_strides,
    other_values,
    no_array,
    constant,
]


def spoiled(rng: Rng, given: dict[str, Any]) -> dict[str, Any]:
    """Spoil up to three arguments of eight in nine cases, now and then by swapping two."""
    given, names = dict(given), list(given)
    for _ in range(rng.integers(0, 4) if rng.random() < 8 / 9 else 0):
        name, other = rng.choice(names, 2)
        if rng.random() < 0.1:
            given[name], given[other] = given[other], given[name]
        else:
            given[name] = SPOILS[rng.integers(len(SPOILS))](rng, given[name])
    return given


# ---- products of arrays


def products(module: ModuleType, rng: Rng) -> None:
    """Call one of the functions of `potentials.ops._kernels`."""
    n_pairs, n_points, channels, n_nodes = (
        int(n) for n in rng.integers([0, 1, 1, 8], [9, 6, 40, 20])
    )
    dtype = rng.choice(["float32", "float64"])

    def numbers(*shape: int) -> Any:
        return rng.normal(size=shape).astype(dtype)

    def points(below: int) -> Any:
        return rng.integers(0, below, n_pairs)

    fields = [numbers(9, n_points, channels) for _ in range(3)]
    filters, pairs = numbers(n_pairs, 3, channels), [points(n_points), points(n_points)]
    species, harmonics = numbers(2, n_points, channels), numbers(n_pairs, 9)
    width = int(rng.integers(1, 9))
    nodes, result = numbers(n_nodes, channels), numbers(n_pairs, channels)
    first, weights = points(n_nodes - width + 1), numbers(n_pairs, width)
    calls: dict[str, list[Any]] = {
        "convolve": [rng.choice([0, 1, 3]), *pairs, numbers(n_pairs), filters, *fields[:2]],
        "embed_pairs": [rng.integers(4), *pairs, filters, harmonics, species, fields[0]],
        "product": [rng.random() < 0.5, rng.integers(3), *fields],
        "interpolate": [rng.integers(3), first, weights, nodes, result],
    }
    name = rng.choice(list(calls))
    arguments = [int(x) if isinstance(x, np.integer) else x for x in calls[name]]
    given = {str(n): x for n, x in enumerate(arguments)}
    getattr(module, name)(*spoiled(rng, given).values())


# ---- the engine


def settings_of(rng: Rng) -> dict[str, Any]:
    """Draw the settings of a small network."""
    attentive = rng.random() < 0.4
    charged, far = bool(rng.random() < 0.4), bool(rng.random() < 0.7)
    local = bool(rng.random() < 0.4)
    cells = rng.integers(1, 4, rng.integers(1, 6)).tolist() if rng.random() < 0.5 else []
    return {
        "channels": int(rng.integers(1, 40)),
        "n_layers": int(rng.integers(1, 4)),
        "n_species": int(rng.integers(1, 12)),
        "n_intervals": int(sum(cells)) if cells else int(rng.integers(1, 20)),
        "head": int(rng.integers(1, 33 if charged else 150)),
        "n_heads": int(rng.integers(1, 5)) if attentive else 0,
        "n_values": int(rng.integers(1, 40)) if attentive else 0,
        "one_sided": bool(rng.random() < 0.5),
        "repulsion": bool(rng.random() < 0.5),
        "hands_out_hidden": bool(rng.random() < 0.5),
        "charges": charged,
        "coulomb": charged and far,
        "shells": charged and bool(rng.random() < 0.5),
        "electrons": local,
        "costs": local and bool(rng.random() < 0.5),
        "dipoles": charged and bool(rng.random() < 0.5),
        "polarizable": charged and bool(rng.random() < 0.5),
        "n_products": int(rng.integers(0, 40)) if charged and local else 0,
        "polynomial": bool(rng.random() < 0.5),
        "max_displacement": 0.5,
        "references": int(rng.choice([0, 1, 3], p=[0.6, 0.2, 0.2])),
        "cutoff": 4.0,
        "crowding": 0.0 if cells else 1.0,
        "cells": cells,
        "scale": 1.0,
        "offset": 0.5,
    }


def structure_of(rng: Rng, settings: dict[str, Any], n_kinds: int) -> dict[str, Any]:
    """Draw a structure for it."""
    n = int(rng.integers(0, 40)) if rng.random() < 0.95 else 520  # from 512 on atoms are sorted
    n_pairs = int(rng.integers(0, 60)) if n else 0
    layers, channels = settings["n_layers"], settings["channels"]
    rows, columns = rng.choice([1, n], p=[0.7, 0.3]), rng.choice([1, channels])
    n_molecules = int(rng.integers(1, 4))
    given: dict[str, Any] = {
        "species": rng.integers(0, settings["n_species"], n),
        "kinds": rng.integers(0, n_kinds, n),
        "positions": rng.normal(size=(n, 3), scale=2.0),
        "idx_i": rng.integers(0, max(n, 1), n_pairs),
        "idx_j": rng.integers(0, max(n, 1), n_pairs),
        "shifts": rng.normal(size=(n_pairs, 3)) if rng.random() < 0.5 else None,
        "factors": rng.normal(size=(layers, rows, columns)),
    }
    if settings["n_heads"] or rng.random() < 0.1:
        given["molecules"] = rng.integers(0, n_molecules, n)
        given["shared_out"] = rng.integers(0, 3, n_molecules).astype(float)
    if settings["charges"] or settings["electrons"] or rng.random() < 0.1:
        given["parts"] = rng.integers(0, n_molecules, n)
        given["part_charges"] = rng.integers(-1, 2, n_molecules).astype(float)
        given["part_unpaired"] = rng.integers(0, 3, n_molecules).astype(float)
    if rng.random() < 0.4:
        given["systems"] = np.sort(rng.integers(0, n_molecules, n))
        given["lattices"] = 9.0 * rng.integers(0, 2, (n_molecules, 1, 1)) * np.eye(3)
    if rng.random() < (0.3 if settings["charges"] else 0.05):
        n_fields = n_molecules if "systems" in given else 1
        given["fields"] = rng.normal(size=(n_fields, 3))
    return given


def spoiled_settings(rng: Rng, settings: dict[str, Any]) -> dict[str, Any]:
    """Change a setting, or leave it out."""
    settings = dict(settings)
    name = rng.choice(list(settings))
    values: list[Any] = [0, -1, 1, 17, 1 << 20, 1 << 31, 1 << 70, np.nan, np.inf, 1e-300, None]
    values += ["x", [], [1, 1], [0, 2], [-1, 3], [1 << 30, 1 << 30], True]
    settings[name] = values[rng.integers(len(values))]
    if rng.random() < 0.2:
        del settings[name]
    return settings


def engines(module: ModuleType, rng: Rng) -> None:
    """Make an engine, and call it several times, in some order."""
    settings = settings_of(rng)
    arrays: dict[str, Any] = {
        name: 0.3 * rng.normal(size=size) for name, size in module.array_sizes(settings).items()
    }
    if settings["references"]:
        arrays["d3.damping"] = np.array([1.0, 0.5, 0.4, 4.0, 6.0, 5.0, 2.0])
        arrays["d3.scale"] = np.abs(arrays["d3.scale"])
    made_of = spoiled_settings(rng, settings) if rng.random() < 0.2 else settings
    given_arrays = spoiled(rng, arrays) if rng.random() < 0.2 else dict(arrays)
    if rng.random() < 0.05:
        del given_arrays[rng.choice(list(given_arrays))]
    n_threads = int(rng.choice([1, 2, 3, 0, -1, 1 << 30], p=[0.5, 0.25, 0.1, 0.05, 0.05, 0.05]))
    isa = str(rng.choice(["", "baseline", "avx2", "sse9"], p=[0.5, 0.3, 0.15, 0.05]))
    engine = module.Engine(made_of, given_arrays, bool(rng.random() < 0.5), n_threads, isa)
    n_kinds, refused = settings["n_species"], None
    for _ in range(rng.integers(1, 8)):
        try:
            n_kinds = call(module, rng, engine, settings, arrays, n_kinds)
        except REFUSALS as error:
            refused = error
    if refused is not None:
        raise refused


def call(
    module: ModuleType,
    rng: Rng,
    engine: Any,
    settings: dict[str, Any],
    arrays: dict[str, Any],
    n_kinds: int,
) -> int:
    """Call one method of an engine; return how many kinds of atoms it knows afterwards."""
    given = structure_of(rng, settings, n_kinds)
    seeds, rows = rng.normal(size=len(given["species"])), given["factors"].shape[1]
    kinds = int(rng.integers(1, 60))
    table = rng.normal(size=(kinds, 2, settings["channels"]))

    def structure() -> Any:
        return module.Structure(**(spoiled(rng, given) if rng.random() < 0.4 else given))

    def cleared() -> int:
        return int(rng.choice([rows, 1, 0, -1, 1 << 60], p=[0.9, 0.04, 0.02, 0.02, 0.02]))

    def maybe(x: Any) -> Any:
        return spoiled(rng, {"x": x})["x"] if rng.random() < 0.3 else x

    def others() -> dict[str, Any]:
        sizes = {"charges": 1, "shells": 3, "shell_charges": 1, "shared": 4, "dipoles": 3}
        sizes["roots"] = 6
        said = ["charges", "shells", "shells", "electrons", "dipoles", "polarizable"]
        drawn = {
            name: rng.normal(size=size * len(seeds))
            for (name, size), needed in zip(sizes.items(), said, strict=True)
            if settings[needed] and rng.random() < 0.3
        }
        return spoiled(rng, drawn) if drawn and rng.random() < 0.3 else drawn

    if rng.random() < 0.5:
        engine.clear_gradients(cleared())
    calls: dict[str, Callable[[], Any]] = {
        "evaluate": lambda: engine.evaluate(structure(), bool(rng.random() < 0.7)),
        "clear": lambda: engine.clear_gradients(cleared()),
        "species": lambda: engine.set_species(maybe(table)),
        "arrays": lambda: engine.set_arrays(spoiled(rng, arrays) if rng.random() < 0.4 else arrays),
        "add": lambda: engine.add_gradients(structure(), maybe(seeds), others()),
        "both": lambda: engine.evaluate_and_add(structure(), maybe(seeds)),
        "gradients": lambda: engine.gradients(),
    }
    name = str(rng.choice(list(calls)))
    calls[name]()
    return {"species": kinds, "arrays": int(settings["n_species"])}.get(name, n_kinds)


CASES: dict[str, Callable[[ModuleType, Rng], None]] = {"_kernels": products, "_native": engines}

if __name__ == "__main__":
    main()
