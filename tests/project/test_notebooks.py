"""The notebooks run from a clean kernel, and the outputs that they keep are what they print."""

import sys
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REFRESH = "run `.venv/bin/jupyter execute --inplace notebooks/*.ipynb` and look at what changed"


class ThisInterpreter(KernelSpecManager):
    """The kernel is the interpreter that runs the tests, whatever is registered on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            argv=make_ipkernel_cmd(executable=sys.executable), display_name=kernel_name, language="python"
        )


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """The text of each code cell's outputs."""
    return [
        "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_there_is_a_notebook() -> None:
    assert "densenet" in [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_prints_what_it_keeps(path: Path, tmp_path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    fresh = nbformat.read(path, as_version=4)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter(), kernel_name="python3")
    NotebookClient(fresh, km=manager, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert printed(kept) == printed(fresh), REFRESH
    assert all(text.strip() for text in printed(kept))
