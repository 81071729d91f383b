"""What pyproject.toml cannot say: the notebooks at the top level are shipped as `ovss/notebooks`, and a build leaves
nothing in the clone."""

import atexit
import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

HOME = Path("notebooks")
SHIPPED = ("*.ipynb", "solutions/*.py")


class BuildElsewhere(build):
    """Build in a folder of its own, unless another is asked for: what an earlier build left cannot get into a wheel."""

    def initialize_options(self) -> None:
        """Choose the folder, which is removed at the end."""
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix="ovss-build-")
        atexit.register(shutil.rmtree, self.build_base, ignore_errors=True)


class BuildWithNotebooks(build_py):
    """Build the package and lay the notebooks into it; an editable install reads them where they are."""

    def run(self) -> None:
        """Build.

        Raises:
            FileNotFoundError: There are no notebooks.
        """
        super().run()
        if self.editable_mode:
            return
        for source, target in zip(self._notebooks(), self._targets(), strict=True):
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))

    def get_source_files(self) -> list[str]:
        """What belongs into an sdist."""
        return [*super().get_source_files(), *map(str, self._notebooks())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What the build writes."""
        more = [] if self.editable_mode else map(str, self._targets())
        return [*super().get_outputs(include_bytecode), *more]

    def _notebooks(self) -> list[Path]:
        found = sorted(path for pattern in SHIPPED for path in HOME.glob(pattern))
        if not found:
            raise FileNotFoundError(f"no notebooks in '{HOME}'; build in the root of the repository or of an sdist")
        return found

    def _targets(self) -> list[Path]:
        return [Path(self.build_lib) / "ovss" / path for path in self._notebooks()]


setup(cmdclass={"build": BuildElsewhere, "build_py": BuildWithNotebooks})
