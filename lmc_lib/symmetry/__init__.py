"""Permutation symmetry: which units of a network can be exchanged without changing its function, and how.

``permutation_spec`` traces a model and derives its groups; ``permute``, ``compose`` and ``inverse`` are the group's
operations on weights; ``prove`` checks numerically that every group leaves the function unchanged.
"""

__all__ = [
    "Group",
    "Member",
    "Permutation",
    "PermutationSpec",
    "SymmetryError",
    "Tap",
    "agreement",
    "agreement_by_size",
    "chance_agreement",
    "check",
    "compose",
    "fixed_points",
    "function_change",
    "identity",
    "inverse",
    "mixtures",
    "permutation_spec",
    "permute",
    "prove",
    "proven_spec",
    "random",
    "rearrange",
    "unit_norms",
]

from lmc_lib.symmetry.proof import function_change, prove, proven_spec
from lmc_lib.symmetry.spec import (
    Group,
    Member,
    Permutation,
    PermutationSpec,
    SymmetryError,
    Tap,
    agreement,
    agreement_by_size,
    chance_agreement,
    check,
    compose,
    fixed_points,
    identity,
    inverse,
    mixtures,
    permute,
    random,
    rearrange,
    unit_norms,
)
from lmc_lib.symmetry.trace import permutation_spec
