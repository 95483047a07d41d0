"""Tests of claims about linear mode connectivity, one thin module for each idea.

The modules are the namespaces: ``from lmc_lib import matching`` and then ``matching.weight_matching(...)``.
``ARCHITECTURE.md`` says which module may import which.
"""

__version__ = "0.1.0"
