"""Making all pages: two notebooks at a time, each kept when it is done; one that fails leaves the others theirs."""

__all__ = ["Outcome", "make_all"]

import contextlib
import json
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from builder import audits, downloads, glance, kept, links, notebook, parameters, pictures, quick, tables, tabs, telling
from builder.layout import BOOK, Page, place, repository
from lmc_lib import claims
from lmc_lib.cli import Refused, notebooks, records, running, tree
from lmc_lib.processes import end_with_parent
from lmc_lib.store import Entry


@dataclass(frozen=True)
class Outcome:
    """What became of a page.

    Attributes:
        page: the page.
        files: what stands in the book, by name.
        seconds: how long it took.
        failure: what went wrong; empty if nothing did.
        kept: whether it was made by an earlier build.
        key: the hash of what made it; empty if it could not be told.
    """

    page: Page
    files: dict[str, bytes]
    seconds: float = 0.0
    failure: str = ""
    kept: bool = False
    key: str = ""

    @property
    def report(self) -> dict[str, Any] | None:
        """The verdict and the numbers of a claim's page; None if it failed."""
        content = self.files.get(f"{self.page.claim}-{self.page.scale}.json.xz")
        return None if content is None or self.failure else json.loads(downloads.unpacked(content))

    def __str__(self) -> str:
        """One line."""
        if self.failure:
            return f"{self.page.title}: failed: {self.failure.splitlines()[0]}"
        said = self.report["verdict"] if self.report else "done"
        return f"{self.page.title}: {said} ({'kept' if self.kept else f'{self.seconds:.0f} s'})"


def make_all(pages: Sequence[Page], tell: Callable[[Outcome], None], *, fresh: bool = False) -> list[Outcome]:
    """Makes pages, two at a time, and writes their files into the book.

    Each notebook is run from a process of its own, because running one sets variables of the process that does it.

    Args:
        pages: the pages, those that take longest first.
        tell: is called with each page when it is there.
        fresh: whether to take neither kept pages nor, at the quick scale, records: everything is computed.
    """
    outcomes: dict[str, Outcome] = {}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        futures = {pool.submit(_make, page, fresh): page for page in pages}
        for outcome in _finished(futures):
            for name, content in outcome.files.items():
                place(outcome.page.folder / name, content)
            outcomes[outcome.page.name] = outcome
            tell(outcome)
    return [outcomes[page.name] for page in pages]


def _finished(futures: dict[Future[Outcome], Page]) -> Iterator[Outcome]:
    for future in as_completed(futures):
        try:
            yield future.result()
        except Exception as error:  # the process itself was ended
            yield _failed(futures[future], error, 0.0, None)


def _make(page: Page, fresh: bool) -> Outcome:
    """Takes a page that was kept, else runs its notebook; whatever goes wrong becomes what the page says."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        executed = Path(name) / page.source.name
        try:
            its_key = kept.key(page)
            if not fresh and (files := kept.taken(page, its_key)) is not None:
                return Outcome(page, files, kept=True, key=its_key)
            files = _claim_files(page, executed, fresh) if page.claim else _guide_files(page, executed)
            kept.keep(page, its_key, files)
        except Exception as error:
            return _failed(page, error, time.perf_counter() - started, executed)
    return Outcome(page, files, time.perf_counter() - started, key=its_key)


def _failed(page: Page, error: Exception, seconds: float, executed: Path | None) -> Outcome:
    said = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
    source = executed if executed is not None and executed.exists() else page.source
    try:
        until_then = nbformat.read(source, as_version=4)
    except (OSError, ValueError):  # it may be the notebook itself that cannot be read
        until_then = nbformat.v4.new_notebook()
    shown = notebook.failed(until_then, page, said, _trace(error))
    return Outcome(page, {f"{page.name}.ipynb": nbformat.writes(shown).encode()}, seconds, said)


def _trace(error: Exception) -> str:
    """Where it went wrong: within the notebook if that is where, else in the build."""
    cause = error.__cause__
    within = getattr(cause, "traceback", None)  # papermill's, of the failing cell
    return "\n".join(within) if within else "".join(traceback.format_exception(error))


def _compare(result: Mapping[str, Any], path: Path) -> None:
    """Holds what a page says against what its file of records said when it was measured.

    Raises:
        Refused: if a verdict differs.
    """
    then = tree.report_of(path)
    for told, now in zip([then, *then["settings"]], [result, *result["settings"]], strict=True):
        if told["verdict"] != now["verdict"]:
            raise Refused(
                f"{path.name} says {told['verdict']!r} of {told.get('title', 'the whole')}, but its measurements "
                f"give {now['verdict']!r}: take the file from git again, or measure with --recompute --records"
            )


def _guide_files(page: Page, executed: Path) -> dict[str, bytes]:
    running.execute(page.source, executed)
    ran = nbformat.read(executed, as_version=4)
    return {page.source.name: nbformat.writes(tables.readable(pictures.with_small_pictures(ran))).encode()}


def _claim_files(page: Page, executed: Path, fresh: bool) -> dict[str, bytes]:
    """The page of a claim at a scale, and what it offers for download: its report and its data.

    It is made from the records alone. The quick scale, which takes no more than a minute, is computed where there are
    no records or none are wanted.
    """
    computed = page.scale == "quick" and (fresh or not tree.record_of(page.claim, page.scale).exists())
    # What a store of the user holds could be other than what ships.
    with running.variables({} if computed else {"LMC_STORE": str(executed.parent / "store")}):
        result = running.run(
            page.claim,
            profile=page.scale,
            out=executed.parent,
            compute=computed,
            records=not computed,
            vectors=page.name == page.claim,
        )
        entries = records.shown(executed)
    if not computed:
        _compare(result, tree.record_of(page.claim, page.scale))
    ran, vectors = pictures.with_vectors(nbformat.read(executed, as_version=4))
    base = f"{page.claim}-{page.scale}"
    contents, numbers, scores = downloads.tables(entries, records.listed(executed))
    finished = _shown(page, ran, result, entries)
    # What the quick scale measures is made anew in a minute; its page offers the report alone.
    offered = page.name == page.claim
    finished = notebook.with_downloads(finished, base, contents if offered else "", scores=offered and bool(scores))
    return {
        f"{page.name}.ipynb": nbformat.writes(finished).encode(),
        f"{base}.json.xz": downloads.packed(executed.with_suffix(".json").read_bytes()),
        **({f"{base}.csv.xz": downloads.packed(downloads.as_csv(numbers))} if offered else {}),
        **({f"{base}-scores.csv.xz": downloads.packed(downloads.as_csv(scores))} if offered and scores else {}),
        **vectors,
    }


def _shown(
    page: Page, ran: nbformat.NotebookNode, result: Mapping[str, Any], entries: Sequence[Entry]
) -> nbformat.NotebookNode:
    """The executed notebook as its page shows it: the verdict first, then the skeleton that all pages share."""
    claim, rows = claims.load(page.claim), audits.rows_of(page.claim, page.scale)
    cost = notebooks.costs(page.claim).get(page.scale, "–")
    at_a_glance = glance.section(claim, result, [each.spec for each in entries], rows, cost)
    own = page.name == page.claim
    if own:
        words = links.words_of((BOOK / "glossary.md").read_text(encoding="utf-8"))
        ran = links.to_deviations(links.to_glossary(ran, words), page.claim)
    finished = tables.readable(pictures.with_small_pictures(ran))
    finished = parameters.with_table(finished, result["parameters"])
    caveats = telling.caveats(rows, [result, *_other_reports(page)])
    finished = notebook.with_verdict(finished, claim, result, caveats, at_a_glance if own else "")
    finished = tabs.with_tabs(finished, claim) if own else quick.as_quick_page(finished, page.claim)
    commits = {each.provenance["commit"] for each in entries} | {result["provenance"]["commit"]}
    finished = notebook.with_commits(finished, repository(), commits)
    finished = notebook.with_keywords(notebook.with_audit(finished, rows), claim.keywords)
    return notebook.with_citation(finished, claim) if own else finished


def _other_reports(page: Page) -> Iterator[dict[str, Any]]:
    """The reports of all other pages of its scale; of a damaged one its own page tells."""
    for path in tree.shipped():
        with contextlib.suppress(Refused):
            report = tree.report_of(path)
            if report["scale"] == page.scale and report["claim"] != page.claim:
                yield report
