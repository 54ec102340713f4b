"""Compile the optional CPU kernels.

Without a compiler, or if it fails, the package installs and runs as pure Python.

The translation units choose their instruction sets themselves (`#pragma GCC target`) and the module
asks the processor at import, so no flag here depends on the machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import Extension, setup

# No -ffast-math: results must not depend on it. -fopenmp-simd vectorises the marked loops and links
# no library.
GCC_FLAGS = ["-std=c++17", "-O3", "-g0", "-fopenmp-simd", "-fvisibility=hidden", "-pthread"]
MSVC_FLAGS = ["/std:c++17", "/O2"]


def optional_extensions() -> list[Extension]:
    """Describe `potentials.ops._kernels` and `polcalc.engines.native._native`."""
    try:
        import pybind11
    except ImportError:
        print(
            "polcalc: pybind11 is missing, so the compiled kernels are left out; everything works"
            " without, more slowly"
        )
        return []
    windows = sys.platform == "win32"
    return [
        Extension(
            name,
            sources=[str(path) for path in sorted(folder.glob("*.cpp"))],
            depends=[str(path) for end in ("h", "inc") for path in sorted(folder.glob(f"*.{end}"))],
            include_dirs=[pybind11.get_include(), str(folder)],
            extra_compile_args=MSVC_FLAGS if windows else GCC_FLAGS,
            extra_link_args=[] if windows else ["-pthread"],
            language="c++",
            optional=True,  # setuptools then says in one line what failed, and goes on
        )
        for name, folder in (
            ("potentials.ops._kernels", Path("potentials/ops/native")),
            ("polcalc.engines.native._native", Path("polcalc/engines/native/cpp")),
        )
        if any(folder.glob("*.cpp"))
    ]


setup(ext_modules=optional_extensions())
