"""How often the criterion of weak connectivity says "supported", with and without the effect.

Run ``python benchmarks/criterion.py --json book/criterion.json`` after a change of the criterion.
"""

import argparse
import json
from pathlib import Path

from lmc_lib import claims

_DRAWS = 1000
_SETTINGS = (
    ("no effect: as high as before alignment (0.9)", 0.9, 0.01),
    ("exactly at the bound (0.1), the hardest false case", 0.1, 0.01),
    ("exactly at the bound (0.1)", 0.1, 0.03),
    ("the published effect (0.0755), with the published spread", 0.0755, 0.0025),
    ("the published effect (0.0755)", 0.0755, 0.01),
    ("the published effect (0.0755)", 0.0755, 0.02),
)


def main() -> None:
    """Simulates each setting and writes the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    claim = claims.load("weak-connectivity")
    rows = []
    for what, aligned, spread in _SETTINGS:
        rate = claims.rates_of_rule(claim, raw=0.9, aligned=aligned, spread=spread, draws=_DRAWS)
        rows.append({"what": what, "aligned": aligned, "spread": spread, "draws": _DRAWS, "rate": rate})
        print(f"{what:<60} spread {spread:g}: {100 * rate:.1f} %")
    options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
