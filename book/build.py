"""Builds the book: runs every claim, writes the generated pages, copies MathJax, calls Jupyter Book.

``make book`` calls it. Pages: each claim from the laptop records that ship with the repository, without training, and
each claim at the quick scale, run here and now.
"""

import argparse
import base64
import copy
import csv
import dataclasses
import gzip
import importlib.util
import io
import json
import multiprocessing
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from lmc_lib import claims, cli, experiments, plotting
from lmc_lib.store import Entry, Store, StoreError

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "book"
PAGES = BOOK / "claims"
GUIDES = BOOK / "guides"
GENERATED = BOOK / "generated"
SITE = ROOT / "_build" / "html"
SCALES = ("laptop", "quick")
_CURVES = (
    "the curves behind the figures: loss and error at each point `alpha` of each line, by method and split, `target` "
    "and `source` being the seeds of the two networks"
)
_VALUES = (
    "every number that was measured, `quantity` being its place in the measurement, `seeds` those of its networks, and "
    "`push` what parted twins, or what was done to the training data"
)
_SCORES = (
    "the table of scores, one row an example; `pandas.read_csv` reads it in one line. `sample`: in-sample (trained on) "
    "or out-of-sample (the test set); `position`: where it stands in the file of the data set, from 0; `label`: its "
    "class. Every other column is a score, named `architecture: score`: the mean over its networks with four "
    "significant digits, higher meaning harder, so that confidence, accuracy and margins are negative; losses are in "
    "nats, counts in checkpoints, depths in layers. Versions and settings stand in the report. The scores are under "
    "the licence of this book; the file holds no images (Fashion-MNIST is under the MIT licence)"
)
# Ratios of the benchmark of matching, the networks by how their names begin, and the largest ratio that was hoped for.
_HOPES = (
    ("sweep, ours / rebasin", ("MLP",), 0.2),
    ("sweep, ours / rebasin", ("ResNet-20 x1",), 0.04),
    ("sweep, ours / rebasin", ("ResNet-20 x4",), 0.125),
    ("sweep, ours / rebasin", ("VGG-16", "ResNet-50"), 1.0),
    ("total, ours / rebasin", ("MLP", "VGG-16", "ResNet-50"), 1.0),
    ("total, ours / rebasin", ("ResNet-20 x1", "ResNet-20 x4"), 1.0),
    ("ours / floor", ("MLP", "ResNet-20 x4", "VGG-16", "ResNet-50"), 1.5),
    ("ours / floor", ("ResNet-20 x1",), 1.5),
)
_BADGES = {
    "supported": "success",
    "not supported": "danger",
    "inconclusive": "warning",
    "not observable at this scale": "muted",
    "mixed": "info",
}


def main() -> int:
    """Builds everything; returns the exit code of Jupyter Book, or 1 if a claim fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages-only", action="store_true", help="run claims and write pages, but do not build")
    options = parser.parse_args()
    for folder in (PAGES, GUIDES, GENERATED, BOOK / "api"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        results = run_all(list(claims.load_all()))
    except (cli.Refused, StoreError) as error:
        print(f"the book is not built: {error}", file=sys.stderr)
        return 1
    for claim in results:
        for scale in scales_of(claim):
            write_page(claim, scale)
        write_thumbnail(PAGES / f"{claim}.ipynb", GENERATED / f"{claim}.png")
    (GENERATED / "dashboard.md").write_text(dashboard(results))
    for name, table in {
        "criterion": criterion_table,
        "architectures": architecture_table,
        "speed": speed_tables,
        "lines": line_table,
    }.items():
        (GENERATED / f"{name}.md").write_text(table(json.loads((BOOK / f"{name}.json").read_text())))
    write_growth(json.loads((BOOK / "speed.json").read_text())["growth"], GENERATED / "growth.png")
    copy_mathjax()
    return 0 if options.pages_only else build()


def run_all(names: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Runs every claim at every scale and every guide, two notebooks at a time; returns the results of the claims.

    Each notebook is run from a process of its own, because ``cli.run`` sets variables of the process that calls it.

    Raises:
        cli.Refused: if a notebook fails; those that have not begun are left out.
        StoreError: if the store cannot be written.
    """
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = {(claim, scale): pool.submit(run, claim, scale) for claim in names for scale in scales_of(claim)}
        guides = [pool.submit(run_guide, path) for path in sorted((cli.NOTEBOOKS / "guides").glob("*.ipynb"))]
        for future in as_completed(futures.values()):
            report(future.result())
        for guide in guides:
            guide.result()
    finally:
        pool.shutdown(cancel_futures=True)
    return {claim: {scale: futures[claim, scale].result() for scale in scales_of(claim)} for claim in names}


def scales_of(claim: str) -> list[str]:
    """The scales at which a claim has pages, first that of its own name; the laptop page needs shipped records."""
    return [scale for scale in SCALES if scale == "quick" or (cli.RECORDS / f"{claim}-{scale}.json").exists()]


def run(claim: str, scale: str) -> dict[str, Any]:
    """Runs a claim's notebook: at the laptop scale from the records alone, at the quick scale whatever is missing."""
    return cli.run(claim, profile=scale, out=GENERATED / scale, compute=scale == "quick")


def run_guide(path: Path) -> None:
    """Executes a guide and writes its page.

    Raises:
        cli.Refused: if a cell fails.
    """
    try:
        papermill.execute_notebook(
            str(path),
            str(GUIDES / path.name),
            cwd=str(cli.NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
            extra_arguments=list(cli.KERNEL),
        )
    except PapermillExecutionError as error:
        raise cli.Refused(f"{path.stem} stopped in cell {error.exec_count}: {error.ename}: {error.evalue}") from error


def report(result: Mapping[str, Any]) -> None:
    """Prints one line a page."""
    seconds = result["provenance"]["seconds"]
    print(f"{result['claim']} at {result['scale']} scale: {result['verdict']} ({seconds:.0f} s)", flush=True)


def write_page(claim: str, scale: str) -> None:
    """Writes the page of a claim at a scale, and beside it what it offers for download: its report and its data."""
    notebook = nbformat.read(GENERATED / scale / f"{claim}.ipynb", as_version=4)
    tables, entries = parted(measurements(notebook))
    for entry in tables:
        write_scores(entry.values["table"], PAGES / f"{claim}-{scale}-scores.csv.gz")
    of_pairs = all(entry.spec["type"] == "PairSpec" for entry in entries)
    table = curves_table(entries) if of_pairs else values_table(entries)
    with (PAGES / f"{claim}-{scale}.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    shutil.copy(GENERATED / scale / f"{claim}.json", PAGES / f"{claim}-{scale}.json")
    columns = _CURVES if of_pairs else _VALUES
    notebook = with_downloads(notebook, f"{claim}-{scale}", f"{columns}; {len(table) - 1:,} rows", scores=bool(tables))
    page = notebook if page_of(claim, scale) == claim else as_quick_page(notebook, claim)
    nbformat.write(page, PAGES / f"{page_of(claim, scale)}.ipynb")


def page_of(claim: str, scale: str) -> str:
    """The name of a page: the first of a claim has the claim's name."""
    return claim if scale == scales_of(claim)[0] else f"{claim}-{scale}"


def measurements(notebook: nbformat.NotebookNode) -> list[Entry]:
    """The stored measurements that an executed notebook says it shows.

    Raises:
        SystemExit: if it does not say so, or if one has left the store since.
    """
    keys = [key for cell in notebook.cells for key in experiments.listed(cell.get("outputs", []))]
    if not keys:
        raise SystemExit("a notebook must say what it shows: its last cell is experiments.origin(store, wanted)")
    store = dataclasses.replace(Store.from_environment(), shipped=tuple(sorted(cli.RECORDS.glob("*.json"))))
    found = [entry for key in keys if (entry := store.find(key)) is not None]
    if len(found) < len(keys):
        raise SystemExit(f"{len(keys) - len(found)} measurements have left {store.root} during the build")
    return found


def parted(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The tables of scores among measurements, and the other measurements."""
    tables = [entry for entry in entries if entry.spec["type"] == "ScoreTableSpec"]
    return tables, [entry for entry in entries if entry not in tables]


def write_scores(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Writes a table of scores as packed CSV, one row an example; the same table gives the same bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([list(columns), *zip(*columns.values(), strict=True)])
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def curves_table(entries: Sequence[Entry]) -> list[list[Any]]:
    """The curves of measured pairs, one row a point, under a row of names; a pair that diverged has no curves."""
    head = ["measurement", "network", "width", "target", "source", "method", "split", "alpha", "loss", "error"]
    return [head, *(row for entry in entries for row in _rows_of_pair(entry))]


def _rows_of_pair(entry: Entry) -> Iterator[list[Any]]:
    *network, seeds = _network(entry)
    pair = [*network, *seeds.split()]
    for method, splits in entry.values.get("curves", {}).items():
        for split, curve in splits.items():
            for point in zip(entry.values["alphas"], curve["loss"], curve["error"], strict=True):
                yield [*pair, method, split, *point]


def values_table(entries: Sequence[Entry]) -> list[list[Any]]:
    """All numbers of measurements, one a row, under a row of names; of twins also how they parted."""
    head = ["measurement", "network", "width", "seeds", "push", "quantity", "value"]
    rows = ([*_network(entry), _push(entry), *each] for entry in entries for each in _numbers(entry.values))
    return [head, *rows]


def _push(entry: Entry) -> str:
    """What parted twins, or what was done to the training data; empty for other measurements."""
    if entry.spec["type"] in ("KeptSpec", "LabelErrorsSpec", "HeldOutSpec"):
        return _part(entry.spec)
    if entry.spec["type"] != "TwinSpec":
        return ""
    child = entry.spec["child"]
    push = {"direction": "gaussian", "weights": "all"} | child["perturbation"]
    return f"step {child['step']}, {push['direction']}, size {push['size']:g}, weights {push['weights']}"


def _part(spec: Mapping[str, Any]) -> str:
    """Which part of how many examples networks were trained on, and the share of wrong labels."""
    data = next(_runs(spec))["data"]
    parts = [f"{data.get('train_examples', 'all')} examples"]
    parts += [f"labels wrong {data['label_noise']:g}"] if "label_noise" in data else []
    if spec["type"] == "KeptSpec":
        parts += [f"{spec.get('policy', 'random')} {spec.get('share', 1.0):g} kept"]
        parts += ["of each class"] if "balanced" in spec else []
    return ", ".join([*parts, *(["scores shuffled"] if "shuffled" in spec else [])])


def _network(entry: Entry) -> list[Any]:
    """Fingerprint, architecture, width and seeds of what was measured."""
    runs = list(_runs(entry.spec))
    model = runs[0]["model"]
    # A description leaves out what is at its default.
    network = "-".join([model["family"], str(model["depth"]), *([model["norm"]] if "norm" in model else [])])
    return [entry.fingerprint, network, model["width"], " ".join(str(run.get("init_seed", 0)) for run in runs)]


def _runs(described: Any) -> Iterator[Mapping[str, Any]]:
    """The descriptions of the networks within that of a measurement."""
    if isinstance(described, list):
        for each in described:
            yield from _runs(each)
    elif isinstance(described, dict) and "model" in described:
        yield described
    elif isinstance(described, dict):
        for each in described.values():
            yield from _runs(each)


def _numbers(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict | list):
        for name, each in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _numbers(each, (*path, str(name)))
    elif isinstance(values, int | float):
        yield " / ".join(path), values


def with_downloads(
    notebook: nbformat.NotebookNode, name: str, contents: str, *, scores: bool = False
) -> nbformat.NotebookNode:
    """Adds a section with links to the files of a page, before its references."""
    text = f"""## Data

- {{download}}`{name}.csv`: {contents}. `measurement` is the fingerprint under which the store and `records/` hold it.
- {{download}}`{name}.json`: the verdict, the estimates with their intervals, all medians, parameters and provenance."""
    if scores:
        text += f"\n- {{download}}`{name}-scores.csv.gz`: {_SCORES}."
    before = [number for number, cell in enumerate(notebook.cells) if cell.source.startswith("## References")]
    page = copy.deepcopy(notebook)
    page.cells.insert(before[0] if before else len(page.cells), nbformat.v4.new_markdown_cell(text, id="downloads"))
    return page


def as_quick_page(notebook: nbformat.NotebookNode, claim: str) -> nbformat.NotebookNode:
    """Gives a notebook labels of its own: the same notebook at another scale is another page."""
    page = copy.deepcopy(notebook)
    names = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in page.cells]
    labels = [name for name in names if name] + [f"run-{claim}"]
    for cell in page.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("name"):
            figure["name"] += "-quick"
        if cell.cell_type == "markdown":
            cell.source = re.sub(rf"([(#])({'|'.join(labels)})\b", r"\1\2-quick", cell.source)
    first = page.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f"{title} (quick scale)\n{rest}"
    return page


def write_thumbnail(page: Path, image: Path) -> None:
    """Saves the first figure of a page."""
    for cell in nbformat.read(page, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                image.write_bytes(base64.b64decode(output["data"]["image/png"]))
                return


def dashboard(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The cards of the claims and a table of verdicts for each, as Markdown."""
    cards = [_card(claims.load(claim_id), next(iter(scales.values()))) for claim_id, scales in results.items()]
    tables = [_table(claims.load(claim_id), scales) for claim_id, scales in results.items()]
    columns = "1 1 1 2" if len(cards) > 1 else "1"
    return "\n".join([f"::::{{grid}} {columns}", *cards, "::::", "", "## Verdicts", "", *tables])


def _table(claim: claims.Claim, scales: Mapping[str, Mapping[str, Any]]) -> str:
    if claim.parts:
        return _table_of_parts(claim, scales)
    conditions = [*claim.supported, *claim.observable]
    head = ["scale", "setting", "verdict", *(condition.label.removeprefix("the ") for condition in conditions), "n"]
    rows = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for scale, result in scales.items():
        page = f"[{scale}](claims/{page_of(claim.id, scale)}.ipynb)"
        control = result["control"] | {"setting": f"negative control: {result['control']['setting']}"}
        rows += [_row(page, setting, conditions) for setting in [*result["settings"], control]]
    return "\n".join([f"### {claim.title}", "", ":::{div} verdicts", *rows, ":::", "", _published(claim), ""])


def _table_of_parts(claim: claims.Claim, scales: Mapping[str, Mapping[str, Any]]) -> str:
    """One row a part and scale; parts have conditions of their own, so these stand in the rows."""
    rows = ["| scale | claim | verdict | evidence | n |", "|---|---|---|---|---|"]
    for scale, result in scales.items():
        page = f"[{scale}](claims/{page_of(claim.id, scale)}.ipynb)"
        control = result["control"] | {"setting": f"negative control: {result['control']['setting']}"}
        for each in [*result["settings"], control]:
            evidence = "; ".join(_evidence(condition) for condition in each["conditions"])
            count = each["conditions"][0]["estimate"]["pairs"]
            rows.append(f"| {page} | {each['setting']} | {badge(each['verdict'])} | {evidence} | {count} |")
    return "\n".join([f"### {claim.title}", "", ":::{div} verdicts", *rows, ":::", "", _published(claim), ""])


def _evidence(condition: Mapping[str, Any]) -> str:
    value = condition["estimate"]
    return f"{condition['condition']}: {value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _published(claim: claims.Claim) -> str:
    values = "; ".join(f"{each['what']}: {each['value']}" for each in claim.published[:2])
    return f"Published: {values}."


def _row(page: str, setting: Mapping[str, Any], conditions: Sequence[claims.Condition]) -> str:
    estimates = {each["quantity"]: each["estimate"] for each in setting["conditions"]}
    found = [estimates[condition.quantity] for condition in conditions]
    numbers = " | ".join(f"{each['value']:.3f} [{each['low']:.3f}, {each['high']:.3f}]" for each in found)
    return f"| {page} | {setting['setting']} | {badge(setting['verdict'])} | {numbers} | {found[0]['pairs']} |"


def _card(claim: claims.Claim, result: Mapping[str, Any]) -> str:
    lines = "\n".join(_verdicts(claim, result["settings"]))
    return (
        f":::{{grid-item-card}} {claim.title}\n:link: claims/{claim.id}.ipynb\n"
        f":img-bottom: generated/{claim.id}.png\n:img-alt: First figure of the page\n\n"
        f"{claim.statement}\n\n{lines}\n:::"
    )


def _verdicts(claim: claims.Claim, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a setting; verdicts on a part in further networks ("ID, NETWORK") stand in the line of the part."""
    starts = {f"{part.id}: {part.title}": f"{part.id}, " for part in claim.parts}
    lines: dict[str, str] = {}
    for setting, verdict in ((each["setting"], badge(each["verdict"])) for each in settings):
        # The name of a part may begin with that of another, so the longest that fits counts.
        parts = [part for part in lines if part in starts and setting.startswith(starts[part])]
        if parts and setting not in starts:
            part = max(parts, key=lambda each: len(starts[each]))
            lines[part] += f"; in {setting.removeprefix(starts[part])}: {verdict}"
        else:
            lines[setting] = f"- {setting}: {verdict}"
    return list(lines.values())


def badge(verdict: str) -> str:
    """A verdict as a badge; the words carry the meaning."""
    return f"{{bdg-{_BADGES[verdict]}}}`{verdict}`"


def criterion_table(rates: Sequence[Mapping[str, Any]]) -> str:
    """The error rates of the criterion, as Markdown."""
    rows = ["| simulated barriers after alignment | spread | studies | called supported |", "|---|---|---|---|"]
    rows += [f"| {row['what']} | {row['spread']:g} | {row['draws']:,} | {100 * row['rate']:.1f} % |" for row in rates]
    return "\n".join([*rows, ""])


def architecture_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The groups of every classifier and their proofs, as Markdown."""
    head = ["model", "parameters", "groups", "units", "pinned", "change", "control", "seconds"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in sorted(rows, key=lambda each: str(each["model"])):
        size = f"{row['parameters'] / 1e6:.1f} M"
        numbers = f"{row['change']:.0e} | {row['control']:.1g} | {row['seconds']:.1f}"
        counts = f"{row['groups']} | {row['units']:,} | {row['pinned']}"
        lines.append(f"| `{row['model']}` | {size} | {counts} | {numbers} |")
    return "\n".join([":::{div} wide", *lines, ":::", ""])


def line_table(result: Mapping[str, Any]) -> str:
    """What a line and a triangle of networks cost beside plain forward passes and a loop, as Markdown."""
    lines = ["| network | points | ours / passes | rebuilt / ours |", "|---|---:|---:|---:|"]
    for row in result["cases"]:
        points = f"{row['shape']} of {row['points']}"
        lines.append(f"| {row['network']} | {points} | {row['ours / passes']:.2f} | {row['rebuilt / ours']:.2f} |")
    return "\n".join([*lines, ""])


def speed_tables(result: Mapping[str, Any]) -> str:
    """Weight matching beside a peer and a floor, and the barriers that both reach, as Markdown."""
    head = ["network", "threads", "a sweep", "floor", "peer", "sweeps", "total", "peer", "objective", "memory", "peer"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(_speed(row))} |" for row in result["networks"]]
    trained = result["trained"]
    sides = {"none": "no permutation", "ours": "`weight_matching`, greedy start", "rebasin": "`rebasin`"}
    quantities = list(trained["medians"]["none"])
    barriers = [
        f"| median barrier over {len(trained['pairs'])} pairs | {' | '.join(quantities)} |",
        "|---|" + "---:|" * 4,
    ]
    for side, label in sides.items():
        medians = trained["medians"][side]
        barriers.append(f"| {label} | {' | '.join(f'{medians[each]:.3f}' for each in quantities)} |")
    counts = trained["ours <= rebasin"]
    barriers.append(f"| pairs in which ours is no higher | {' | '.join(str(counts[each]) for each in quantities)} |")
    tables = [lines, barriers, _hopes(result["networks"])]
    return "\n".join(line for table in tables for line in [":::{div} wide", *table, ":::", ""])


def _hopes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was hoped for and what was reached, as rows of a table: the range over precisions, norms and threads."""
    lines = ["| what | hoped for | reached |", "|---|---:|---:|"]
    for what, networks, hoped in _HOPES:
        mine = [row for row in rows if row["network"].startswith(networks)]
        found = [row["ratios"][what] for row in mine if what in row["ratios"]]
        names = " and ".join(name.removesuffix(",") for name in networks)
        lines.append(f"| {what}: {names} | {hoped:g} | {min(found):.2f} to {max(found):.2f} |")
    return lines


def _speed(row: Mapping[str, Any]) -> list[str]:
    ours, peer, floor, ratios = row["ours"], row["rebasin"], row["floor"], row["ratios"]
    cells = [row["network"], str(row["threads"]), _time(ours["sweep_seconds"]), _time(floor["sweep_seconds"])]
    if "failed" in peer:
        return [*cells, "failed", f"{ours['sweeps']:g}", _time(ours["seconds"]), "failed", "", _memory(ours), ""]
    # A peer that was stopped has used at least this much time, and its objective is unfinished.
    more, objective = ("", f"{ratios['objective, ours / rebasin']:.2f}") if peer["complete"] else ("> ", "")
    return [
        *cells,
        _time(peer["sweep_seconds"]),
        f"{ours['sweeps']:g} / {more}{peer['sweeps']:g}",
        _time(ours["seconds"]),
        more + _time(peer["seconds"]),
        objective,
        _memory(ours),
        _memory(peer),
    ]


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _memory(side: Mapping[str, Any]) -> str:
    return f"{side['peak_mb'] / side['network_mb']:.1f}"


def write_growth(rows: Sequence[Mapping[str, Any]], image: Path) -> None:
    """Draws time against width and depth."""
    with plt.rc_context(plotting.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), sharey=True)
        for ax, name, fixed in zip(axes, ["width", "depth"], ["3 hidden layers", "256 units a layer"], strict=True):
            chosen = [row for row in rows if (row["depth"] == 3 if name == "width" else row["width"] == 256)]
            chosen.sort(key=lambda row: int(row[name]))
            plotting.growth(
                ax,
                [row[name] for row in chosen],
                {what: [row[what] for row in chosen] for what in ("setup_seconds", "sweep_seconds", "seconds")},
                xlabel=f"{name} ({'units a layer' if name == 'width' else 'hidden layers'})",
            )
            ax.set_title(fixed, fontsize=10.5)
            ax.label_outer()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        figure.savefig(image)
        plt.close(figure)


def copy_mathjax() -> None:
    """Copies MathJax from the installed package into the site's own files, so that pages need no other server."""
    spec = importlib.util.find_spec("mathjax")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("MathJax is missing: pip install django-static-mathjax (it is part of the extra `book`)")
    source = Path(spec.submodule_search_locations[0]) / "static" / "mathjax" / "es5"
    target = BOOK / "_static" / "mathjax"
    shutil.rmtree(target, ignore_errors=True)
    fonts = Path("output") / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(source / fonts, target / fonts)
    shutil.copy(source / "tex-chtml.js", target)


def build() -> int:
    """Calls Jupyter Book with warnings as errors, and checks that the pages exist."""
    shutil.rmtree(ROOT / "_build", ignore_errors=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        str(ROOT),
        "-W",
        "-n",
        "--keep-going",
        "-q",
    ]
    code = subprocess.run(command, check=False).returncode
    expected = [SITE / "book" / "claims" / f"{page.stem}.html" for page in PAGES.glob("*.ipynb")]
    if missing := [str(page) for page in [SITE / "index.html", *expected] if not page.exists()]:
        print(f"these pages are missing: {', '.join(missing)}", file=sys.stderr)
        return code or 1
    for leftover in SITE.rglob("*.map"):
        leftover.unlink()
    print(f"The book is in {SITE.relative_to(ROOT)}: open {(SITE / 'book' / 'index.html').as_uri()}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
