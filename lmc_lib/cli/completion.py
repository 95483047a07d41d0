"""Completion in the shell: claims and parameters, besides the commands and options that argparse knows.

``eval "$(register-python-argcomplete lmc)"`` turns it on. argcomplete is loaded only when a shell asks for it.
"""

__all__ = ["claims", "complete", "overrides"]

import argparse
import os

from lmc_lib.cli import notebooks, tree
from lmc_lib.cli.refused import Refused


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers the shell and ends the process, where a shell asks; else does nothing."""
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # noqa: PLC0415 -- see above

        argcomplete.autocomplete(parser)


def claims(**_: object) -> list[str]:
    """The names of the claims."""
    return sorted(path.stem for path in tree.NOTEBOOKS.glob("*.ipynb"))


def overrides(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """What can stand after ``-p``: the parameters of the claim as ``NAME=``, entries of dictionaries as ``NAME.KEY=``.

    Args:
        parsed_args: what was parsed so far; there is nothing to offer before the claim is named.
    """
    try:
        known = notebooks.parameters(parsed_args.claim)
    except Refused:
        return []
    found = []
    for each in known:
        found.append(f"{each.name}=")
        if isinstance(each.default, dict):
            found += [f"{each.name}.{key}=" for key in each.default]
    return found
