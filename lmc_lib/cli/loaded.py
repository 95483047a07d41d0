"""What the fork server loads before it forks kernels: all that pages import, and no thread that torch starts."""

__all__ = ["PATH"]

import gc
import importlib
import io
import os
import sys

# Where a kernel looks for modules; a forked process would look where the process does that asked for it.
PATH = tuple(sys.path)

# As in a kernel: matplotlib reads it when it is imported.
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
for _name in (
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "lmc_lib.experiments",
    "lmc_lib.plotting",
    "matplotlib.pyplot",
    "pandas",
    "scipy.stats",
    "sklearn.datasets",
    "torchvision",  # it loads the compiler of torch, which tracing a network needs, too
):
    importlib.import_module(_name)

# As in a kernel: pandas looks, when it is imported, whether tables are shown in a terminal.
importlib.import_module("pandas").set_option("display.max_columns", 20)

# A first picture loads fonts and the writer of images. It is not pyplot's, whose backend looks for a kernel.
_figure = importlib.import_module("matplotlib.figure").Figure(layout="constrained")
_figure.subplots().plot([0, 1])
_figure.savefig(io.BytesIO(), format="png")

# A first trace of a network loads what it needs of torch's compiler. It would start torch's threads, where there are
# several (make sets OMP_NUM_THREADS to 1), and a fork lacks them.
_torch = importlib.import_module("torch")
if _torch.get_num_threads() == 1:
    _network = _torch.nn.Sequential(_torch.nn.Linear(2, 3), _torch.nn.ReLU(), _torch.nn.Linear(3, 2))
    importlib.import_module("lmc_lib.symmetry").permutation_spec(_network, _torch.zeros(1, 2))

# What is loaded stays: no collection in a kernel looks at it again.
gc.collect()
gc.freeze()
