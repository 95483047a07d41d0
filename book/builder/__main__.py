"""``make book``: makes every page, keeps what was made, and builds the site.

Pages: each claim at both scales, from the records that ship with the repository, without training, and the guides. A
page that fails says so itself, the others are built, and the exit code is 1.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence

from builder import answers, audits, benchmarks, first_page, guesses, kept, navigation, site, verdict_tables
from builder.layout import GENERATED, GUIDES, PAGES, ROOT, SITE, guides, pages, place_only
from builder.making import Outcome, make_all
from lmc_lib import claims, definitions
from lmc_lib.cli import judging, running


def main() -> int:
    """Builds everything; returns 0 if every page and the site are sound."""
    parser = argparse.ArgumentParser(prog="make book", description=__doc__)
    parser.add_argument("--pages-only", action="store_true", help="make the pages, but do not build the site")
    parser.add_argument("--fresh", action="store_true", help="compute the quick scale anew, and keep nothing of before")
    options = parser.parse_args()
    try:
        wanted = [*guides(), *pages()]
        supposed, answered = guesses.read(claims.load_all()), answers.read()
    except (definitions.DefinitionError, guesses.GuessError, answers.AnswerError) as error:
        print(f"the book is not built: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as empty, running.variables({"LMC_STORE": empty} if options.fresh else {}):
        outcomes = make_all(wanted, lambda outcome: print(outcome, flush=True), fresh=options.fresh)
    kept.clean((each.page, each.key) for each in outcomes)
    for folder in (PAGES, GUIDES):
        place_only(folder, {n: c for each in outcomes if each.page.folder == folder for n, c in each.files.items()})
    texts = {"deviations.md": definitions.deviations(), "audit.md": audits.table(judging.kept_audits())}
    generated = {name: text.encode() for name, text in texts.items()}
    generated |= benchmarks.files() | guesses.files(supposed, outcomes)
    generated |= answers.files(answered, outcomes)
    place_only(GENERATED, first_page.files(outcomes) | verdict_tables.files(outcomes) | generated)
    site.copy_mathjax()
    failures = [each for each in outcomes if each.failure]
    code = 0 if options.pages_only else build_site(outcomes, strict=not failures)
    if failures:
        print(f"{len(failures)} of {len(outcomes)} pages failed; the others are built and kept:", file=sys.stderr)
    for each in failures:
        print(f"  {each.page.title}: {each.failure}", file=sys.stderr)
    return 1 if failures else code


def build_site(outcomes: Sequence[Outcome], *, strict: bool) -> int:
    """Builds the site, says where it is, and what is wrong with it."""
    code = site.build(strict=strict)
    navigation.mark(SITE, {each.page.name: each.report["verdict"] for each in outcomes if each.report})
    index = SITE / "book" / "index.html"
    expected = [index, *(SITE / "book" / each.page.folder.name / f"{each.page.name}.html" for each in outcomes)]
    missing = [path.name for path in expected if not path.exists()]
    if index.exists():
        print(f"The book is in {SITE.relative_to(ROOT)}: open {index.as_uri()}", flush=True)
    if code:
        print("the site has faults: Sphinx names them above", file=sys.stderr)
    if missing:
        print(f"these pages are missing in the site: {', '.join(missing)}", file=sys.stderr)
    return code or int(bool(missing))


if __name__ == "__main__":
    raise SystemExit(main())
