"""The command line: parameters refused before anything runs, results as files, errors as one paragraph."""

import argparse
import functools
import gzip
import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError

import lmc_lib
from lmc_lib import claims, definitions, records
from lmc_lib.cli import (
    Refused,
    commands,
    completion,
    judging,
    main,
    measuring,
    notebooks,
    running,
    storing,
    tree,
    verdicts,
    working,
)
from lmc_lib.cli.output import duration
from lmc_lib.cli.parameters import parameters_of, resolve
from lmc_lib.store import Result, Store

CLAIM = "weak-connectivity"
REPORT = {
    "claim": "toy", "scale": "quick", "scope": "toy", "verdict": "supported", "settings": [], "controls": [],
    "numbers": {},
}  # fmt: skip

MAKER = {"created": "2026-07-05T01:02:03+00:00", "commit": "abc", "versions": {"python": "3.11.7"}, "threads": 3}

PARAMETERS = """\
scale: str = "quick"  # name of the profile
data: str = "digits"  # the data set
width: int = 16  # units
rate: float = 0.1  # learning rate
fast: bool = False  # whether to hurry
widths: list = [8, 16]  # further units
rates: list = [0.1, 0.2]  # further rates
training: dict = {  # of the networks,
    "steps": 300, "lr": 0.05
}  # all of them
others: dict = {}  # further networks
"""
COSTS = """\
| scale | command | on two cores |
|---|---|---|
| quick | `lmc run toy` | a blink; two with `--recompute` |
| laptop | `lmc run toy --profile laptop` | an hour |
| mine | `lmc run toy -p width=3` | who knows |
"""

# Names of tests hold what they are given, and two processes must find the same names.
packed = functools.partial(gzip.compress, mtime=0)


@pytest.fixture
def toy(tmp_path, monkeypatch, write_claim):
    """A claim with one parameter of each type, and its profiles, in a folder of its own."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells.append(nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}))
    notebook.cells.append(nbformat.v4.new_markdown_cell(COSTS))
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "toy.ipynb")
    write_claim(tmp_path, profiles={"laptop": {"width": 64, "training": {"steps": 1000}}, "paper": {"width": 128}})
    monkeypatch.setattr(tree, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(tree, "RECORDS", tmp_path / "records")
    return tmp_path


class TestResolve:
    def test_reads_names_and_defaults(self, toy):
        assert parameters_of("toy") == {
            "scale": "quick",
            "data": "digits",
            "width": 16,
            "rate": 0.1,
            "fast": False,
            "widths": [8, 16],
            "rates": [0.1, 0.2],
            "training": {"steps": 300, "lr": 0.05},
            "others": {},
        }

    def test_quick_is_the_notebook_as_it_stands(self, toy):
        assert resolve("toy", "quick") == {"scale": "quick"}

    def test_a_profile_changes_what_it_names(self, toy):
        assert resolve("toy", "laptop") == {"scale": "laptop", "width": 64, "training": {"steps": 1000}}

    @pytest.mark.parametrize(
        ("text", "name", "value"),
        [
            ("data=mnist", "data", "mnist"),
            ("data='mnist'", "data", "mnist"),
            ("data=a=b", "data", "a=b"),
            ("width=32", "width", 32),
            (" width = 32 ", "width", 32),
            ("rate=0.5", "rate", 0.5),
            ("rate=1", "rate", 1),
            ("rate=1e-3", "rate", 0.001),
            ("fast=True", "fast", True),
            ("widths=[4]", "widths", [4]),
            ("widths=[]", "widths", []),
            ("rates=[1, 0.5]", "rates", [1, 0.5]),
            ("training={'steps': 5}", "training", {"steps": 5}),
            ("training.steps=5", "training", {"steps": 5, "lr": 0.05}),
            ("training.momentum=0.5", "training", {"steps": 300, "lr": 0.05, "momentum": 0.5}),
            ("others={'vgg-11': {'lr': 0.2}}", "others", {"vgg-11": {"lr": 0.2}}),
            ("others.vgg-11={'width': 4}", "others", {"vgg-11": {"width": 4}}),
            ("others.vgg-11={}", "others", {"vgg-11": {}}),
        ],
    )
    def test_an_override_of_the_right_type_is_taken(self, toy, text, name, value):
        assert resolve("toy", "quick", [text]) == {"scale": "quick", name: value}

    @pytest.mark.parametrize(
        ("text", "name", "stored"),
        [
            ("rate=1", "rate", "1.0"),
            ("width=1", "width", "1"),
            ("rates=[1, 0.5]", "rates", "[1.0, 0.5]"),
            ("widths=[1]", "widths", "[1]"),
            ("training.lr=1", "training", '{"steps": 300, "lr": 1.0}'),
            ("training.momentum=0", "training", '{"steps": 300, "lr": 0.05, "momentum": 0.0}'),
            ("others.a={'lr': 1}", "others", '{"a": {"lr": 1.0}}'),
        ],
    )
    def test_a_whole_number_is_a_float_where_floats_are_taken(self, toy, text, name, stored):
        """A fingerprint tells them apart."""
        assert json.dumps(resolve("toy", "quick", [text])[name]) == stored

    def test_overrides_come_after_the_profile_and_after_each_other(self, toy):
        found = resolve("toy", "laptop", ["width=1", "width=2", "training.lr=1.0", "training.steps=7"])
        assert found == {"scale": "laptop", "width": 2, "training": {"steps": 7, "lr": 1.0}}

    @pytest.mark.parametrize(
        ("text", "name", "expected"),
        [
            ("data=3", "data", "str"),
            ("data=None", "data", "str"),
            ("width=wide", "width", "int"),
            ("width='32'", "width", "int"),
            ("width=32.0", "width", "int"),
            ("width=True", "width", "int"),
            ("width=[32]", "width", "int"),
            ("width=", "width", "int"),
            ("rate=fast", "rate", "float"),
            ("rate=True", "rate", "float"),
            ("fast=1", "fast", "bool"),
            ("fast=yes", "fast", "bool"),
            ("widths=8", "widths", "a list of int"),
            ("widths=(8, 16)", "widths", "a list of int"),  # papermill would write a tuple as a string
            ("widths=[8, 'wide']", "widths", "a list of int"),
            ("widths=[8, 1.5]", "widths", "a list of int"),
            ("widths=[True]", "widths", "a list of int"),
            ("rates=['a']", "rates", "a list of float"),
            ("training=5", "training", "dict"),
            ("training=[5]", "training", "dict"),
        ],
    )
    def test_a_wrong_type_is_refused_with_the_right_one(self, toy, text, name, expected):
        with pytest.raises(Refused, match=f"-p: {name} takes {re.escape(expected)}, like .*, not "):
            resolve("toy", "quick", [text])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("training.steps=many", "training: steps takes int"),
            ("training.steps=2.5", "training: steps takes int"),
            ("training.lr=[1]", "training: lr takes float"),
            ("training.stepz=3", "training: no parameter 'stepz'"),
            ("training={'stepz': 3}", "training: no parameter 'stepz'"),
            ("training={'lr': {}}", "training: lr takes float"),
            ("training.width=3", "training: no parameter 'width'"),
            ("others.vgg-11=4", "others: vgg-11 takes dict"),
            ("others={'vgg-11': 4}", "others: vgg-11 takes dict"),
            ("others.vgg-11={'width': 'wide'}", "others: vgg-11: width takes int"),
            ("others.vgg-11={'lr': 'fast'}", "others: vgg-11: lr takes float"),
            ("others.vgg-11={'wdith': 4}", "others: vgg-11: no parameter 'wdith'"),
            ("others.width=4", "others: width takes dict"),
        ],
    )
    def test_entries_of_a_dictionary_are_checked_too(self, toy, text, message):
        with pytest.raises(Refused, match=f"-p: {message}"):
            resolve("toy", "quick", [text])

    def test_a_key_of_what_is_no_dictionary_is_refused(self, toy):
        with pytest.raises(Refused, match="width"):
            resolve("toy", "quick", ["width.units=3"])

    @pytest.mark.parametrize("text", ["wdith=3", "wdith.steps=3", "=3", "Width=3"])
    def test_an_unknown_name_is_refused_with_all_valid_ones(self, toy, text):
        with pytest.raises(Refused, match="no parameter") as caught:
            resolve("toy", "quick", [text])
        for line in ("data: str = 'digits'", "width: int = 16", "rate: float = 0.1", "widths: a list of int = [8, 16]"):
            assert f"\n  {line}" in str(caught.value)

    def test_an_override_without_a_value_is_refused(self, toy):
        with pytest.raises(Refused, match="-p takes name=value, not 'width'"):
            resolve("toy", "quick", ["width"])

    def test_the_scale_is_that_of_the_profile(self, toy):
        with pytest.raises(Refused, match="-p: scale is the name of the profile, which --profile sets"):
            resolve("toy", "quick", ["scale=paper"])

    @pytest.mark.parametrize(
        "raw",
        [
            "{[]: 1}", "{{}}", "-" * 100_000, "[" * 100_000, "(" * 300, "{'a':" * 200, "9" * 5000, "'", "\\x", "1is 2",
            "\0", "\ud800", "f'{1}'", "1if 1else 2", "not 1", "*", "lambda: 0", "__import__('os')", "[1,", "0x", "1_",
        ],
        ids=lambda raw: ascii(raw[:12]),
    )  # fmt: skip
    @pytest.mark.parametrize("name", ["widths", "training", "training.steps", "rate", "fast", "others.a"])
    def test_any_text_is_a_value_or_refused(self, toy, name, raw):
        """Whatever the parser of Python makes of it; a warning of the compiler would be an error here."""
        with pytest.raises(Refused, match=r"-p: .* takes ") as caught:
            resolve("toy", "quick", [f"{name}={raw}"])
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize("text", ["training={1: 2}", "others={1: {}}", "others={'a': {2: 3}}", "training.lr.a=3"])
    def test_keys_are_names(self, toy, text):
        with pytest.raises(Refused, match=r"-p: (training|others)"):
            resolve("toy", "quick", [text])

    @pytest.mark.parametrize("text", ["rate=1e999", "rates=[0.1, -1e999]", "rate=" + "-" * 100_000])
    def test_what_is_no_finite_number_is_refused(self, toy, text):
        with pytest.raises(Refused, match=r"rates? takes"):
            resolve("toy", "quick", [text])

    def test_a_claim_is_named_and_no_path(self, toy):
        with pytest.raises(Refused, match=r"no notebook for the claim '\.\./notebooks/toy'"):
            resolve("../notebooks/toy", "quick")

    @pytest.mark.parametrize("text", ["wdith=3", "width=wide", "width", "width.units=3", "training.stepz=3"])
    def test_a_refused_override_ends_with_what_tells_the_right_ones(self, toy, text):
        with pytest.raises(Refused, match=r"\nlmc run toy --help says what each parameter means$"):
            resolve("toy", "quick", [text])

    def test_an_unknown_claim_is_refused_with_those_that_there_are(self, toy):
        with pytest.raises(Refused, match="no notebook for the claim 'tyo'; there are: toy"):
            resolve("tyo", "quick")

    def test_an_unknown_profile_is_refused_with_those_that_there_are(self, toy):
        with pytest.raises(Refused, match="no profile 'desktop'; there are quick, laptop, paper"):
            resolve("toy", "desktop")

    @pytest.mark.parametrize(
        ("parameters", "message"), [({"wdith": 3}, "no parameter 'wdith'"), ({"width": "3"}, "width takes int")]
    )
    def test_a_profile_is_checked_like_an_override(self, toy, write_claim, parameters, message):
        write_claim(toy, profiles={"laptop": parameters, "paper": {}})
        with pytest.raises(Refused, match=f"profile laptop: {message}"):
            resolve("toy", "laptop")

    @pytest.mark.parametrize("profile", tree.PROFILES)
    @pytest.mark.parametrize("claim", claims.load_all())
    def test_every_profile_of_every_claim_resolves(self, claim, profile):
        found = resolve(claim, profile)
        assert found["scale"] == profile
        assert found.keys() <= parameters_of(claim).keys()


class TestRun:
    """``running.run`` around a notebook that is not executed: what it sets for it, and what it writes."""

    @pytest.fixture
    def executed(self, toy, monkeypatch, request):
        """Replaces the execution by a look at the environment that the notebook would see."""
        seen = {}
        hidden = getattr(request, "param", ())

        def execute(source, target, parameters, *, vectors):
            seen["vectors"] = vectors
            seen.update({name: value for name, value in os.environ.items() if name.startswith("LMC_")})
            seen["parameters"] = parameters
            shown = {"application/vnd.lmc.report+json": REPORT, "application/vnd.lmc.provenance+json": MAKER}
            outputs = [
                nbformat.v4.new_output("display_data", {kind: shown[kind]}) for kind in shown if kind not in hidden
            ]
            return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[each]) for each in outputs])

        for name in [name for name in os.environ if name.startswith("LMC_")]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(running, "execute", execute)
        return seen

    def test_writes_report_parameters_and_provenance(self, executed, tmp_path):
        result = running.run("toy", overrides=["width=3"], out=tmp_path / "out")
        assert json.loads((tmp_path / "out" / "toy.json").read_text()) == result
        assert {name: result[name] for name in REPORT} == REPORT
        assert result["parameters"] == parameters_of("toy") | {"width": 3}
        seconds = result["provenance"].pop("seconds")
        assert seconds >= 0
        assert result["provenance"] == MAKER

    def test_only_the_process_of_the_notebook_waits_for_torch(self):
        program = "import sys; from lmc_lib.cli import records, running; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    @pytest.mark.parametrize(
        ("executed", "lacking"),
        [
            (["application/vnd.lmc.report+json"], "claims.conclude(...)"),
            (["application/vnd.lmc.provenance+json"], "sweeps.origin(store, wanted)"),
        ],
        indirect=["executed"],
    )
    def test_a_notebook_that_lacks_what_a_page_ends_with_is_refused(self, executed, lacking, tmp_path):
        with pytest.raises(Refused, match=f"a cell must end with {re.escape(lacking)}"):
            running.run("toy", out=tmp_path / "out")
        assert not (tmp_path / "out" / "toy.json").exists()

    def test_options_reach_the_notebook_and_leave_no_trace(self, executed, tmp_path):
        before = dict(os.environ)
        running.run("toy", out=tmp_path / "out", workers=3, recompute=True, compute=False)
        assert (executed["LMC_WORKERS"], executed["LMC_COMPUTE"]) == ("3", "0")
        assert float(executed["LMC_STALE_BEFORE"]) > 1e9
        assert dict(os.environ) == before

    @pytest.mark.parametrize("vectors", [True, False])
    def test_figures_are_kept_as_pdf_where_it_is_asked_for(self, executed, toy, vectors):
        running.run("toy", out=toy / "out", vectors=vectors)
        assert executed["vectors"] is vectors

    @pytest.mark.parametrize(("name", "value"), [("LMC_WORKERS", "3"), ("LMC_COMPUTE", "0")])
    def test_variables_of_the_user_hold_where_no_option_says_otherwise(
        self, executed, tmp_path, monkeypatch, name, value
    ):
        monkeypatch.setenv(name, value)
        running.run("toy", out=tmp_path / "out")
        assert executed.get(name) == value

    def test_shipped_records_reach_the_notebook(self, executed, toy):
        records.write(toy / "records" / "toy-laptop.json.gz", {}, {})
        running.run("toy", out=toy / "out")
        assert executed["LMC_RECORDS"] == str(toy / "records" / "toy-laptop.json.gz")

    def test_the_claims_own_records_are_looked_at_first(self, executed, toy):
        for name in ("other-laptop", "toy-laptop", "toy-paper", "zoo-laptop"):
            records.write(toy / "records" / f"{name}.json.gz", {}, {})
        running.run("toy", profile="laptop", out=toy / "out")
        found = [records.stem(Path(each)) for each in executed["LMC_RECORDS"].split(os.pathsep)]
        assert found == ["toy-laptop", "other-laptop", "toy-paper", "zoo-laptop"]

    def test_a_notebook_without_a_report_is_refused(self, executed, toy, monkeypatch):
        monkeypatch.setattr(running, "execute", lambda *_, **__: nbformat.v4.new_notebook())
        with pytest.raises(Refused, match=r"shows no report: a cell must end with claims\.conclude"):
            running.run("toy", out=toy / "out")

    def test_the_store_of_the_caller_is_that_of_the_notebook(self, executed, toy, monkeypatch):
        """A notebook runs in the folder of notebooks, so that a path within the caller's would be another one."""
        monkeypatch.chdir(toy)
        monkeypatch.setenv("LMC_STORE", "mine")
        running.run("toy", out=toy / "out")
        assert executed["LMC_STORE"] == str(toy / "mine")
        monkeypatch.setenv("LMC_STORE", "")
        assert Store.from_environment().root == Path("~/.cache/lmc/store").expanduser()

    def test_a_run_that_fails_leaves_no_report_of_an_earlier_one(self, executed, toy, monkeypatch):
        running.run("toy", out=toy / "out")
        monkeypatch.setattr(running, "execute", lambda *_, **__: nbformat.v4.new_notebook())
        with pytest.raises(Refused):
            running.run("toy", out=toy / "out")
        assert not (toy / "out" / "toy.json").exists()

    def test_results_do_not_replace_the_notebooks(self, executed, toy, monkeypatch):
        monkeypatch.chdir(tree.NOTEBOOKS)
        with pytest.raises(Refused, match="would replace the notebooks themselves"):
            running.run("toy", out=Path())
        with pytest.raises(Refused, match="--workers takes at least one process, got 0"):
            running.run("toy", out=toy / "out", workers=0)
        assert executed == {}

    @pytest.mark.parametrize("ending", ["ipynb", "json"])
    def test_what_cannot_be_written_is_noticed_before_the_notebook_runs(self, executed, toy, ending):
        (toy / "out" / f"toy.{ending}").mkdir(parents=True)
        with pytest.raises(OSError, match=f"toy.{ending}"):
            running.run("toy", out=toy / "out")
        assert executed == {}

    def test_a_file_is_no_folder_for_results(self, executed, toy):
        (toy / "out").touch()
        with pytest.raises(OSError, match="out"):
            running.run("toy", out=toy / "out")
        assert executed == {}

    @pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
    @pytest.mark.parametrize(
        ("allowed", "variable", "workers", "needed"),
        [(113, "1", None, 114), (121, "1", 5, 122), (123, "6", None, 124), (115, None, 2, 116)],
    )
    def test_too_few_open_files_are_refused_by_their_limit(
        self, executed, toy, monkeypatch, allowed, variable, workers, needed
    ):
        if variable:
            monkeypatch.setenv("LMC_WORKERS", variable)
        run = functools.partial(running.run, "toy", out=toy / "out", workers=workers)
        told = f"may open {allowed} files here, and this one needs {needed}: ulimit -n {needed}"
        monkeypatch.setattr(running.resource, "getrlimit", lambda _: (allowed, 10**6))
        for ask in (run, functools.partial(running.work, "toy", workers=workers)):
            with pytest.raises(Refused, match=told):
                ask()
        assert executed == {}
        for enough in (needed, running.resource.RLIM_INFINITY):
            monkeypatch.setattr(running.resource, "getrlimit", lambda _, enough=enough: (enough, 10**6))
            run()

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("LMC_WORKERS", "x"), ("LMC_WORKERS", "-1"), ("LMC_WORKERS", "²"), ("LMC_WORKERS", "1.5"),
            ("LMC_COMPUTE", "no"), ("LMC_COMPUTE", "false"), ("LMC_SAME_CODE", "yes"),
            ("LMC_STALE_BEFORE", "soon"), ("LMC_STALE_BEFORE", "nan"),
        ],
    )  # fmt: skip
    def test_a_variable_that_means_nothing_is_refused_by_run_and_status(self, executed, toy, monkeypatch, name, text):
        monkeypatch.setenv(name, text)
        for ask in (functools.partial(running.run, out=toy / "out"), running.plan):
            with pytest.raises(Refused, match=f"the variable {name} is '{text}', and takes .*: set it so, or unset it"):
                ask("toy")
        assert executed == {}
        assert not (toy / "out").exists()

    def test_wrong_parameters_stop_before_anything_is_written(self, executed, toy):
        with pytest.raises(Refused):
            running.run("toy", overrides=["width=wide"], out=toy / "out")
        assert not (toy / "out").exists()
        assert executed == {}


class TestExecute:
    """``running.execute`` around papermill, which is not asked to run anything."""

    @pytest.fixture
    def asked(self, monkeypatch):
        def set_end(end):
            def execute_notebook(source, target, **_):
                if isinstance(end, Exception):
                    raise end
                return source.format(n=1), target.format(n=1)

            monkeypatch.setattr(running.papermill, "execute_notebook", execute_notebook)

        return set_end

    def test_braces_in_a_path_are_its_own(self, asked):
        asked(None)
        assert running.execute(Path("{n}.ipynb"), Path("out/{n}{}/a.ipynb")) == ("{n}.ipynb", "out/{n}{}/a.ipynb")

    def test_a_process_that_was_ended_is_told_in_a_line(self, asked):
        asked(DeadKernelError("Kernel died"))
        with pytest.raises(running.Stopped, match=r"^toy stopped: Kernel died\. Its process ended from outside, often"):
            running.execute(Path("toy.ipynb"), Path("out.ipynb"))

    def test_a_kernel_that_is_not_installed_is_told_with_what_to_do(self, asked):
        asked(NoSuchKernel("python3"))
        with pytest.raises(Refused, match=r"toy cannot run: .*python3.*Install ipykernel"):
            running.execute(Path("toy.ipynb"), Path("out.ipynb"))


SPEC = claims.Condition("raw", "the barrier", 0.2, True, "any dataclass is a spec")
RESULT = REPORT | {
    "claim": "toy", "scale": "laptop", "controls": [{"title": "narrow", "verdict": "not supported"}],
    "provenance": {"seconds": 1.0},
}  # fmt: skip


class TestRecords:
    """``lmc run --records``: the measurements behind a page, kept without the networks."""

    @pytest.fixture
    def commit(self, monkeypatch):
        """Says which commit the code is of."""

        def commit(name):
            found = {"commit": name, "seconds": 1.0, "created": "2026-01-01", "machine": "any", "device": "cpu"}
            monkeypatch.setattr("lmc_lib.store.store.provenance", lambda: dict(found))
            monkeypatch.setattr("lmc_lib.cli.records.provenance", lambda: dict(found))

        commit("abc")
        return commit

    @pytest.fixture
    def keep(self, toy, monkeypatch, commit):
        """Calls ``lmc run toy --records`` where the executed notebook shows the given measurements."""
        monkeypatch.setenv("LMC_STORE", str(toy / "store"))
        monkeypatch.chdir(toy)

        def keep(*keys, options=()):
            def run(*_arguments, out, **_options):
                data = {"application/vnd.lmc.measurements+json": dict.fromkeys(keys, "")}
                cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data)] * bool(keys))
                out.mkdir(exist_ok=True)
                nbformat.write(nbformat.v4.new_notebook(cells=[cell]), out / "toy.ipynb")
                return RESULT

            monkeypatch.setattr(running, "run", run)
            code = main(["run", "toy", "--profile", "laptop", "--records", *options])
            path = toy / "records" / "toy-laptop.json.gz"
            return code, records.read(path) if path.exists() else None

        return keep

    def test_keeps_measurements_of_the_store_and_nothing_else(self, keep, toy):
        store = Store(toy / "store")
        entry = store.get_or_compute(SPEC, lambda: Result({"barrier": 0.5}))
        store.get_or_compute(replace(SPEC, quantity="network"), lambda: Result({"steps": [3]}))  # what it needs
        code, kept = keep(entry.fingerprint)
        assert code == 0
        assert kept["records"] == {entry.fingerprint: entry.as_record()}
        assert kept["report"] == {name: value for name, value in RESULT.items() if name != "provenance"}

    def test_keeps_measurements_that_came_from_records(self, keep, toy):
        entry = Store(toy / "elsewhere").get_or_compute(SPEC, lambda: Result({"barrier": 0.5}))
        kept = {entry.fingerprint: entry.as_record()}
        records.write(toy / "records" / "toy-laptop.json.gz", {}, kept)
        assert keep(entry.fingerprint)[1]["records"] == kept

    def test_the_report_is_read_without_the_measurements(self, keep, toy):
        keep(Store(toy / "store").get_or_compute(SPEC, lambda: Result({"barrier": 0.5})).fingerprint)
        assert tree.report_of(toy / "records" / "toy-laptop.json.gz")["verdict"] == "supported"

    def test_a_profile_is_kept_as_it_is_defined(self, keep, capsys):
        assert keep("0123", options=["-p", "width=3"]) == (1, None)
        assert "leave out -p, or change notebooks/CLAIM.yml" in capsys.readouterr().err

    def test_a_notebook_that_does_not_say_what_it_shows_is_refused(self, keep, capsys):
        assert keep() == (1, None)
        assert "a cell must end with sweeps.origin(store, wanted)" in capsys.readouterr().err

    def test_a_measurement_that_left_the_store_is_missed(self, keep, capsys):
        assert keep("0123") == (1, None)
        assert "1 of 1 measurements have left" in capsys.readouterr().err

    def test_code_that_no_commit_holds_is_refused_before_anything_runs(self, keep, commit, monkeypatch, capsys):
        commit("abc-dirty")
        assert keep("0123") == (1, None)
        err = capsys.readouterr().err
        assert "differ from commit abc: commit first, or give --allow-dirty" in err
        assert not (Path("results")).exists()

    def test_measurements_of_code_that_no_commit_holds_are_refused(self, keep, commit, toy, capsys):
        commit("abc-dirty")
        entry = Store(toy / "store").get_or_compute(SPEC, lambda: Result({"barrier": 0.5}))
        commit("abd")
        assert keep(entry.fingerprint) == (1, None)
        err = capsys.readouterr().err
        assert f"1 of 1 measurements, {entry.fingerprint} first, were made with code that no commit holds" in err
        assert "(abc-dirty): measure them again with --recompute" in err
        code, kept = keep(entry.fingerprint, options=["--allow-dirty"])
        assert code == 0
        assert kept["records"].keys() == {entry.fingerprint}


def record(toy, scale, verdict):
    """Writes the head of a file of records of the toy claim; nothing reads further."""
    path = toy / "records" / f"toy-{scale}.json.gz"
    path.parent.mkdir(exist_ok=True)
    judged = {"settings": [{"title": "wide", "verdict": verdict}], "controls": []}
    report = {"claim": "toy", "scale": scale, "verdict": verdict} | judged
    path.write_bytes(packed(f'{{"report": {json.dumps(report)},\n"records": {{\n"ab": {{"not": "read\n'.encode()))
    return path


class TestNotebooks:
    def test_parameters_have_their_comments_however_many_lines_they_take(self, toy):
        found = {each.name: (each.default, each.meaning) for each in notebooks.parameters("toy")}
        assert found["rate"] == (0.1, "learning rate")
        assert found["training"] == ({"steps": 300, "lr": 0.05}, "of the networks, all of them")

    def test_a_parameter_without_a_comment_has_that_of_the_line_before(self):
        found = notebooks.parameters_in(
            "# long\na: int = 1\nb: int = 2  # own\nc: int = 3\n# of d\nd: int = 4  # own too"
        )
        assert [each.meaning for each in found] == ["long", "own", "", "own too"]

    @pytest.mark.parametrize(
        ("text", "value", "meaning"),
        [
            ('"a=b"  # of q', "a=b", "of q"),
            ("3  # where q = 4 is too much", 3, "where q = 4 is too much"),
            ('"#ff0000"  # colour', "#ff0000", "colour"),
            ("[\n    'a#=',\n]  # marks", ["a#="], "marks"),
            ("(1, 2)  # a tuple", (1, 2), "a tuple"),
        ],
    )
    def test_values_and_comments_are_those_of_python(self, text, value, meaning):
        assert notebooks.parameters_in(f"q: object = {text}") == [notebooks.Parameter("q", value, meaning)]

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("a: int = 1\nb: int = 2 * 50  # twice", "line 2: b takes a value that needs no computing"),
            ("a: int = 1\nb: dict = {[]: 1}  # no key", "line 2: b takes a value that needs no computing"),
            ("a: int = 1\nb: int = " + "-" * 100_000 + "1", "a value is too deep for Python to read"),
            ("a: int = 1  # one\nb = 2  # two", "line 2 is no `name: type = value  # meaning`, but 'b = 2'"),
            ("a: int  # nothing", "line 1 is no `name"),
            ("\na: int = len('ab')  # computed", "line 2: a takes a value that needs no computing"),
            ("a: int = ", "line 1 is no Python"),
        ],
    )
    def test_other_statements_are_refused_with_their_line(self, toy, source, message):
        with pytest.raises(ValueError, match=message):
            notebooks.parameters_in(source)
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), toy / "toy.ipynb")
        with pytest.raises(Refused, match=rf"the cell of parameters of toy\.ipynb: {message}"):
            notebooks.parameters("toy")

    @pytest.mark.parametrize(
        "content",
        ["[]", "a text", '{"cells": 3}', '{"cells": ["a"]}', '{"cells": [{"cell_type": "code"}]}',
         '{"cells": [{"cell_type": "code", "source": 7}]}'],
    )  # fmt: skip
    def test_what_is_no_notebook_is_refused(self, toy, content):
        (toy / "toy.ipynb").write_text(content)
        with pytest.raises(Refused, match=r"toy\.ipynb is no notebook"):
            notebooks.parameters("toy")

    def test_costs_are_those_of_the_profiles_in_the_table(self, toy):
        assert notebooks.costs("toy") == {"quick": "a blink; two with `--recompute`", "laptop": "an hour"}
        assert notebooks.costs("none") == {}

    def test_every_page_says_what_its_profiles_cost(self):
        assert [claim for claim in claims.load_all() if notebooks.costs(claim).keys() != set(tree.PROFILES)] == []

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1.0 min"), (3599, "60.0 min"), (9000, "2.5 h")]
    )
    def test_times_are_told_in_the_unit_that_fits(self, seconds, words):
        assert duration(seconds) == words


class TestList:
    def test_shows_every_claim_under_its_chapter(self, capsys):
        assert main(["list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        for claim_id, each in definitions.read_all().items():
            (row,) = [n for n, line in enumerate(lines) if line.split() == [claim_id, *each.claim.title.split()]]
            assert [line for line in lines[:row] if line in definitions.CHAPTERS][-1] == each.chapter
        assert [line for line in lines if line in definitions.CHAPTERS] == list(definitions.CHAPTERS)

    def test_shows_verdicts_and_costs_by_scale(self, toy, capsys):
        record(toy, "laptop", "not seen at this scale")
        assert main(["list"]) == 0
        assert capsys.readouterr().out.splitlines()[1:] == [
            "",
            "Example difficulty",
            "",
            f"{'toy':<28} A toy",
            f"    quick   {'no records':<29} a blink; two with --recompute",
            f"    laptop  {'not seen at this scale':<29} an hour",
            "    paper   no records",
        ]

    def test_says_the_same_as_json(self, toy, capsys):
        record(toy, "quick", "mixed")
        assert main(["list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [
            {
                "claim": "toy", "chapter": "Example difficulty", "title": "A toy", "brief": "toys fall",
                "scales": {
                    "quick": {"verdict": "mixed", "scope": "toy", "cost": "a blink; two with --recompute"},
                    "laptop": {"verdict": None, "scope": "proxy", "cost": "an hour"},
                    "paper": {"verdict": None, "scope": "exact", "cost": None},
                },
            }
        ]  # fmt: skip


def said_by_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


class TestHelp:
    def test_of_all_tells_examples_and_exit_codes(self, capsys):
        said = said_by_help(["--help"], capsys)
        assert len(re.findall(r"^  lmc \w+", said, re.MULTILINE)) == 6
        for code, meaning in ((0, "done"), (1, "refused or failed"), (2, "wrong usage"), (130, "stopped by Ctrl-C")):
            assert re.search(rf"^  {code} +{meaning}", said, re.MULTILINE)

    @pytest.mark.parametrize(
        "command",
        ["list", "run", "open", "status", "work", "shared", "judge", "verify", "audit", "new", "align", "barrier"],
    )
    def test_of_each_command_has_examples_that_can_be_parsed(self, command, capsys, monkeypatch):
        said = said_by_help([command, "--help"], capsys)
        assert re.search(rf"^    {command} ", said_by_help(["--help"], capsys), re.MULTILINE)
        examples = [shlex.split(line) for line in said.partition("examples:\n")[2].splitlines()]
        assert examples
        done = []
        for module in (measuring, working, verdicts, commands):
            for name in (command, f"_{command}"):
                monkeypatch.setattr(module, name, done.append, raising=False)
        for program, *arguments in examples:
            assert (program, arguments[0]) == ("lmc", command)
            if "--help" in arguments:
                said_by_help(arguments, capsys)
            else:
                assert main(arguments) == 0
        assert len(done) == sum("--help" not in example for example in examples)

    @pytest.mark.parametrize("command", ["check", "prune", "export", "import"])
    def test_of_each_command_on_the_store_has_examples_that_can_be_parsed(self, command, capsys, monkeypatch):
        assert re.search(rf"^    {command} ", said_by_help(["store", "--help"], capsys), re.MULTILINE)
        said = said_by_help(["store", command, "--help"], capsys)
        examples = [shlex.split(line) for line in said.partition("examples:\n")[2].splitlines()]
        done = []
        monkeypatch.setattr(storing, "take" if command == "import" else command, done.append)
        for program, *arguments in examples:
            assert (program, *arguments[:2]) == ("lmc", "store", command)
            assert main(arguments) == 0
        assert len(done) == len(examples) > 1

    @pytest.mark.parametrize("command", ["run", "status", "work"])
    def test_behind_a_claim_is_about_that_claim(self, toy, command, capsys):
        said = said_by_help([command, "toy", "--help"], capsys)
        assert said.startswith("A toy\n\nEvery toy falls.\n")
        assert f"  lmc {command} toy --profile laptop  an hour\n" in said
        assert "\n  width: int\n      units\n" in said
        assert re.search(r"\n      quick: +16\n      laptop: +64\n      paper: +128\n", said)
        assert re.search(
            r"  rates: a list of float\n      further rates\n      quick, laptop, paper: +\[0.1, 0.2\]\n", said
        )
        assert re.search(r"\n      quick, paper: +{'steps': 300, 'lr': 0.05}\n      laptop: +{'steps': 1000}\n", said)
        assert "scale: str" not in said, "the profile says it"
        assert max(map(len, said.splitlines())) <= 122

    def test_before_a_claim_is_about_the_command(self, toy, capsys):
        assert said_by_help(["run", "--help", "toy"], capsys).startswith("usage: lmc run ")

    def test_of_no_claim_is_refused(self, toy, capsys):
        assert main(["run", "tyo", "--help"]) == 1
        assert "no notebook for the claim 'tyo'; there are: toy" in capsys.readouterr().err

    def test_of_every_claim_loads_no_library_of_numbers(self):
        program = (
            "import contextlib, sys\n"
            "from lmc_lib import cli, definitions\n"
            "for claim in definitions.load_all():\n"
            "    with contextlib.suppress(SystemExit):\n"
            "        cli.main(['run', claim, '--help'])\n"
            "print(*{'torch', 'numpy', 'papermill', 'tqdm', 'argcomplete'} & sys.modules.keys())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == ""
        assert done.stdout.count("parameters, each changed by -p") == len(claims.load_all())

    def test_version_is_that_of_the_library(self, capsys):
        assert said_by_help(["--version"], capsys) == f"lmc {lmc_lib.__version__}\n"


class TestOpen:
    @pytest.fixture
    def opened(self, toy, monkeypatch):
        """The addresses that the browser is given; the site has the first page and two pages of the toy claim."""
        for name in ("index.html", "claims/toy.html", "claims/toy-quick.html"):
            path = toy / "html" / "book" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        record(toy, "laptop", "mixed")
        addresses = []
        monkeypatch.setattr(tree, "SITE", toy / "html")
        monkeypatch.setattr("webbrowser.open", lambda address: not addresses.append(address))
        return addresses

    @pytest.mark.parametrize(
        ("arguments", "page"),
        [
            ([], "index.html"),
            (["toy"], "claims/toy.html"),
            (["toy", "--scale", "laptop"], "claims/toy.html"),
            (["toy", "--scale", "quick"], "claims/toy-quick.html"),
        ],
    )
    def test_opens_or_prints_the_page(self, opened, toy, arguments, page, capsys):
        path = toy / "html" / "book" / page
        assert main(["open", *arguments, "--print"]) == 0
        assert (opened, capsys.readouterr().out) == ([], f"{path}\n")
        assert main(["open", *arguments]) == 0
        assert (opened, capsys.readouterr().out) == ([path.as_uri()], "")

    def test_the_quick_page_is_the_first_where_there_is_no_other(self, opened, toy, capsys):
        (toy / "records" / "toy-laptop.json.gz").unlink()
        assert main(["open", "toy", "--scale", "quick", "--print"]) == 0
        assert capsys.readouterr().out.endswith("/claims/toy.html\n")
        assert main(["open", "toy", "--scale", "laptop"]) == 1
        assert "measure with lmc run toy --profile laptop --records" in capsys.readouterr().err

    def test_what_is_not_built_is_refused_with_what_to_do(self, opened, toy, capsys):
        (toy / "html" / "book" / "claims" / "toy.html").unlink()
        assert main(["open", "toy"]) == 1
        assert re.search(r"toy\.html is not built: build the book with make book", capsys.readouterr().err)
        assert main(["open", "tyo"]) == 1
        assert "no claim 'tyo'" in capsys.readouterr().err
        assert opened == []

    def test_a_machine_without_a_browser_is_told(self, opened, monkeypatch, capsys):
        monkeypatch.setattr("webbrowser.open", lambda _: False)
        assert main(["open", "toy"]) == 1
        assert re.search(r"no browser was found: open \S+toy\.html yourself", capsys.readouterr().err)


class TestCompletion:
    def test_offers_claims_and_the_parameters_of_the_claim(self, toy):
        assert completion.claims(prefix="t") == ["toy"]
        found = completion.overrides(argparse.Namespace(claim="toy"), prefix="")
        assert found[:2] == ["scale=", "data="]
        assert {"training=", "training.steps=", "training.lr="} <= set(found)
        assert completion.overrides(argparse.Namespace(claim="tyo")) == []
        assert completion.overrides(argparse.Namespace(claim=None)) == []

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("lmc ju", {"judge "}),
            ("lmc run weak", {"weak-connectivity "}),
            ("lmc judge strong", {"strong-connectivity "}),
            ("lmc shared --profile l", {"laptop "}),
            ("lmc run weak-connectivity -p wid", {"width=", "widths="}),
            ("lmc run weak-connectivity -p training.st", {"training.steps="}),
        ],
    )
    def test_the_shell_is_answered(self, line, expected, tmp_path):
        pytest.importorskip("argcomplete", reason="completion needs the package argcomplete: make install")
        program = "from lmc_lib.cli import main; main([])"
        environment = {**os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "said")}
        environment |= {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
        assert set((tmp_path / "said").read_text().split("\n")) == expected


class TestMain:
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "is no file of records"),
            (b'{"records": {}}', "is no file of records"),
            (packed(b'{"report": {}}')[:-12], "is no file of records"),
            (packed(b'{"records": {}}'), "is no file of records"),
            (
                packed(
                    b'{"report": {"claim": "butterfly-onset", "scale": "laptop", "verdict": "mixed", "controls": [], '
                    b'"settings": [{"title": "a", "verdict": "mixed"}]},\n'
                ),
                "butterfly-onset-laptop",
            ),
            (
                packed(b'{"report": {"claim": "toy", "scale": "laptop", "settings": [], "controls": []},\n'),
                "is no file",
            ),
            (
                packed(b'{"report": {"claim": "toy", "scale": "laptop", "verdict": "mixed", "controls": []},\n'),
                "is no",
            ),
            (
                packed(
                    b'{"report": {"claim": "toy", "scale": "laptop", "verdict": "mixed", "controls": [], '
                    b'"settings": [3]},\n'
                ),
                "is no file of records",
            ),
            (packed(b'{"report": {"claim": "toy", "scale": "quick", "verdict": "mixed"},\n'), "is no file"),
            (
                packed(
                    b'{"report": {"claim": "toy", "scale": "quick", "verdict": "mixed", "controls": [], '
                    b'"settings": [{"title": "a", "verdict": "mixed"}]},\n'
                ),
                "holds the report of toy-quick",
            ),
        ],
    )
    def test_a_damaged_or_misplaced_file_of_records_is_told(self, toy, content, told, capsys):
        (toy / "records").mkdir()
        (toy / "records" / "toy-laptop.json.gz").write_bytes(content)
        assert main(["list"]) == 1
        err = capsys.readouterr().err
        assert "toy-laptop.json.gz" in err
        assert told in err
        assert "take it from git again" in err

    def test_a_reader_that_has_seen_enough_is_no_error(self):
        """As in ``lmc list | head -1``."""
        program = "import sys; from lmc_lib.cli import main; sys.exit(main(['list']))"
        writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        writer.stdout.close()
        assert writer.wait(60) == 0
        assert writer.stderr.read() == b""
        writer.stderr.close()

    @pytest.mark.parametrize("command", ["run", "status"])
    def test_a_refusal_is_exit_code_1_and_one_message(self, command, capsys, tmp_path):
        assert main([command, "strong"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("lmc: no notebook for the claim 'strong'; there are: ")

    def test_a_file_of_a_claim_that_cannot_be_used_is_exit_code_1_and_its_line(self, toy, write_claim, capsys):
        write_claim(toy, profiles={"laptop": {}})
        assert main(["run", "toy", "--profile", "laptop", "--out", str(toy / "out")]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"lmc: \S+/toy\.yml:\d+: 'profiles' lacks the key 'paper'\n", err)

    @pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", CLAIM, "--workers", "many"]])
    def test_a_misspelt_command_is_exit_code_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "usage: lmc" in capsys.readouterr().err


TINY = [
    "width=16", "widths=[8]", "seeds=3", "training.steps=30", "residual_training.steps=5",
    "residual_training.warmup=2", "residual.widths=[2,4]", "residual.seeds=3", "points=3",
    "examples.plain=[60,60]", "examples.residual=[60,60]",
]  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder in which a user ran the claim on an empty store, with networks as small as they come."""
    folder = tmp_path_factory.mktemp("tiny")
    command = [Path(sys.executable).with_name("lmc"), "run", CLAIM, "--out", "out", "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMC_")}
    environment |= {"LMC_STORE": str(folder / "store"), "OMP_NUM_THREADS": "1"}
    overrides = [word for text in TINY for word in ("-p", text)]
    done = subprocess.run(command + overrides, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture
def lmc(tiny, monkeypatch, capfd):
    """Calls the command within this process, in the folder of ``tiny``: exit code, stdout and stderr."""
    for name in [name for name in os.environ if name.startswith("LMC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LMC_STORE", str(tiny / "store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tiny)

    def lmc(*arguments, overrides=()):
        code = main([*arguments, *(word for text in overrides for word in ("-p", text))])
        return code, *capfd.readouterr()

    return lmc


def stored(folder):
    return {path: path.read_bytes() for path in (folder / "store" / "runs").rglob("*") if path.is_file()}


@pytest.mark.slow
class TestWeakConnectivity:
    def test_run_writes_a_notebook_and_a_report(self, tiny):
        notebook = nbformat.read(tiny / "out" / f"{CLAIM}.ipynb", nbformat.NO_CONVERT)
        assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
        report = json.loads((tiny / "out" / f"{CLAIM}.json").read_text())
        names = {"claim", "scale", "scope", "unit", "verdict", "settings", "controls", "numbers"}
        assert report.keys() == names | {"parameters", "provenance"}
        assert (report["claim"], report["scale"]) == (CLAIM, "quick")
        assert report["verdict"] in claims.VERDICTS
        assert len(report["settings"]) == 3
        assert report["parameters"]["width"] == 16
        assert report["parameters"]["training"]["steps"] == 30
        said = (tiny / "stdout").read_text()
        assert said.startswith(f"{CLAIM} (quick, toy): {report['verdict']}\n")
        assert re.search(
            r"\nwritten in [\d.]+ (s|min): out/weak-connectivity\.ipynb, out/weak-connectivity\.json\n", said
        )
        cost = notebooks.costs(CLAIM)["laptop"].replace("`", "")  # a terminal shows no Markdown
        assert re.search(rf"\nnext: lmc run {CLAIM} --profile laptop +{re.escape(cost)}\n", said)
        assert re.search(rf"\n +lmc run {CLAIM} --help .*\n +lmc open {CLAIM} .*\n$", said)

    def test_a_run_is_silent_about_its_connection_to_the_kernel(self, tiny):
        assert "encryption" not in (tiny / "stderr").read_text()

    def test_a_second_run_computes_nothing_and_says_the_same(self, tiny, lmc):
        before = stored(tiny)
        code, _, stderr = lmc("run", CLAIM, "--out", "again", overrides=TINY)
        assert code == 0, stderr
        assert stored(tiny) == before
        first, second = (json.loads((tiny / name / f"{CLAIM}.json").read_text()) for name in ("out", "again"))
        assert first.pop("provenance") != second.pop("provenance")
        assert json.dumps(first) == json.dumps(second)

    def test_an_error_within_the_notebook_is_one_paragraph(self, tiny, lmc):
        code, stdout, stderr = lmc(
            "run", CLAIM, "--out", "bad", "--workers", "1", overrides=[*TINY, "training.lr=1e30"]
        )
        assert (code, stdout) == (1, "")
        message = stderr[stderr.index("lmc: ") :]
        first, given, last = message.splitlines()
        assert re.match(rf"lmc: {CLAIM} stopped in cell \d+: ValueError: Cost matrix is infeasible ", first)
        overrides = [word for each in (*TINY, "training.lr=1e30") for word in ("-p", each)]
        assert given == f"given were {shlex.join(overrides)}"
        assert last.startswith(f"bad/{CLAIM}.ipynb shows how far it came. Other values: lmc run {CLAIM} --help.")
        assert (tiny / "bad" / f"{CLAIM}.ipynb").exists()
        assert "Traceback" not in stderr
        assert not (tiny / "bad" / f"{CLAIM}.json").exists()

    def test_status_counts_what_is_stored_and_what_is_missing(self, lmc):
        code, stdout, stderr = lmc("status", CLAIM, overrides=TINY)
        assert code == 0, stderr
        *lines, total = stdout.splitlines()
        assert total == "to compute: 0.0 core-minutes"
        counts = [
            re.search(r" +(\d+) (networks|pairs|movements) +(\d+) stored +(\d+) to compute, [\d.]+ s each$", x)
            for x in lines
        ]
        # Two plain kinds, one of them from two scales of initial weights, and two residual ones.
        expected = [("3", noun, "3", "0") for noun in ["networks", "pairs"] * 5 + ["movements"] * 3]
        assert sorted(each.groups() for each in counts) == sorted(expected)

    def test_status_of_the_paper_profile_is_known_without_its_data(self, lmc, monkeypatch, tmp_path):
        monkeypatch.setenv("LMC_DATA", str(tmp_path / "nothing"))
        # Narrow networks: the time of an update is measured.
        narrow = ["width=8", "widths=[4]", "residual.widths=[4,8]"]
        code, stdout, stderr = lmc("status", CLAIM, "--profile", "paper", overrides=narrow)
        assert code == 0, stderr
        *lines, total = stdout.splitlines()
        assert lines
        assert all(" 0 stored" in line for line in lines)
        # Trainings by the time of their updates on random images; what measurements cost is not known.
        for line in lines:
            cost = (
                r"time unknown"
                if re.search(" pairs | movements ", line)
                else r"about [\d.]+ (h|min) each, by the time of a few updates"
            )
            assert re.search(rf"{cost}$", line), line
        hours = r"about [\d.]+ hours of training on one device like this"
        assert re.fullmatch(rf"to compute: 0\.0 core-minutes, {hours} and \d+ of unknown cost", total)


@pytest.mark.slow
@pytest.mark.parametrize(("vectors", "kinds"), [(True, {"image/png", "application/pdf"}), (False, {"image/png"})])
def test_a_figure_comes_as_pdf_too_where_it_is_asked_for(tmp_path, vectors, kinds):
    source = "import matplotlib.pyplot as plt\n\nfigure, ax = plt.subplots()"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), tmp_path / "a.ipynb")
    ran = running.execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb", vectors=vectors)
    (output,) = ran.cells[-1].outputs
    assert set(output.data) - {"text/plain"} == kinds


def test_results_that_several_claims_need_are_listed_with_their_claims(monkeypatch, capsys):
    def row(key, label, noun):
        return {"fingerprint": key, "label": label, "noun": noun}

    plans = {
        "one": [row("a", "MLP", "networks"), row("b", "MLP", "networks"), row("c", "MLP", "pairs")],
        "two": [row("a", "MLP", "networks"), row("b", "MLP", "networks"), row("d", "VGG", "networks")],
    }
    monkeypatch.setattr(measuring, "load_all", lambda: plans)
    monkeypatch.setattr(running, "plan", lambda claim, profile: plans[claim] if profile == "laptop" else [])
    assert main(["shared", "--profile", "laptop"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.split() == ["MLP", "2", "networks", "one,", "two"]
    assert last == "2 of 4 results serve several claims; the store computes them once"
    assert main(["shared", "--profile", "laptop", "--json"]) == 0
    kind = {"label": "MLP", "noun": "networks", "results": 2, "claims": ["one", "two"]}
    assert json.loads(capsys.readouterr().out) == {"profile": "laptop", "kinds": [kind], "shared": 2, "results": 4}


def test_a_plan_is_told_by_kind_in_words_and_as_json(monkeypatch, capsys):
    def row(label, noun, stored, seconds=None, updates=0, pace=None, code=None):
        return {
            "label": label, "noun": noun, "stored": stored, "needed": not stored, "seconds": seconds,
            "updates": updates, "pace": pace, "code": code, "running": False, "failed": None, "finished": None,
        }  # fmt: skip

    rows = [row("MLP", "networks", True, 20.0), row("MLP", "networks", True, 40.0), row("MLP", "networks", False)]
    rows += [row("VGG", "networks", False, updates=100, pace=72.0), row("VGG", "pairs", False)]
    asked = []
    monkeypatch.setattr(running, "plan", lambda claim, **options: asked.append((claim, options)) or rows)
    assert main(["status", "toy", "--profile", "laptop", "-p", "width=3"]) == 0
    assert asked == [("toy", {"profile": "laptop", "overrides": ["width=3"], "pace": True})]
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "MLP 3 networks 2 stored 1 to compute, 30.0 s each",
        "VGG 1 networks 0 stored 1 to compute, about 2.0 h each, by the time of a few updates",
        "VGG 1 pairs 0 stored 1 to compute, time unknown",
        "to compute: 0.5 core-minutes, about 2.0 hours of training on one device like this and 1 of unknown cost",
    ]
    assert main(["status", "toy", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["claim"], told["profile"]) == ("toy", "quick")
    assert told["left"] == {"seconds": 30.0, "estimated_seconds": 7200.0, "of_unknown_cost": 1}
    assert [(each["results"], each["stored"], each["to_compute"], each["cost"]) for each in told["kinds"]] == [
        (3, 2, 1, "known"), (1, 0, 1, "estimated"), (1, 0, 1, "unknown"),
    ]  # fmt: skip
    rows += [row("MLP", "networks", True, 30.0, code=code) for code in ("other", "same", "unknown", "other", "same")]
    assert main(["status", "toy"]) == 0
    told = "made by other code than the present one, which --same-code of lmc run computes anew"
    assert capsys.readouterr().out.splitlines()[-1] == f"of what is stored, 2 {told}; of 1 the code is not known"
    assert main(["status", "toy", "--json"]) == 0
    kind = json.loads(capsys.readouterr().out)["kinds"][0]
    assert (kind["other_code"], kind["unknown_code"]) == (2, 1)


class TestNow:
    """What ``lmc status`` says of a sweep that others are at."""

    @pytest.fixture
    def rows(self, monkeypatch):
        def row(number, **changes):
            plain = {"stored": False, "needed": True, "seconds": None, "updates": 0, "pace": None, "code": None}
            state = {"running": False, "failed": None, "finished": None}
            return {"label": "MLP", "noun": "networks"} | plain | state | changes

        ages = (5400.0, 1800.0, 900.0)  # one is of before the last hour
        stored = [
            row(number, stored=True, needed=False, seconds=120.0, finished=1e9 - age) for number, age in enumerate(ages)
        ]
        rows = [*stored, row(3, running=True), row(4, running=True), row(5, failed="store/failed/a.log"), row(6)]
        monkeypatch.setattr(measuring.time, "time", lambda: 1e9)
        monkeypatch.setattr(running, "plan", lambda claim, **options: rows)
        return rows

    def test_tells_what_is_computed_what_failed_and_the_time_left(self, rows, capsys):
        assert main(["status", "toy"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{'MLP':<36}    7 networks        3 stored    4 to compute (2 running, 1 failed), 120.0 s each",
            "to compute: 8.0 core-minutes",
            "now: 2 running, 1 queued, 1 failed; 4 results an hour; about 4.0 min left with 2 at a time",
            "failed: MLP, networks: store/failed/a.log",
            "what failed is computed again by the next lmc run or lmc work",
        ]
        assert main(["status", "toy", "--json"]) == 0
        failed = [{"label": "MLP", "noun": "networks", "log": "store/failed/a.log"}]
        assert json.loads(capsys.readouterr().out)["now"] == {
            "running": 2, "queued": 1, "failed": failed, "an_hour": 4.0, "seconds_left": 240.0,
        }  # fmt: skip

    def test_tells_at_least_how_long_where_some_cost_is_not_known(self, rows, capsys):
        rows.append(rows[-1] | {"label": "VGG"})
        assert main(["status", "toy"]) == 0
        assert "; more than 4.0 min left with 2 at a time\n" in capsys.readouterr().out

    def test_looks_again_until_nothing_is_missing(self, rows, monkeypatch, capsys):
        waited = []

        def wait(seconds):
            waited.append(seconds)
            if len(waited) == 2:
                for row in rows:
                    row.update(stored=True, needed=False, running=False, failed=None)

        monkeypatch.setattr(measuring.time, "sleep", wait)
        assert main(["status", "toy", "--watch", "5"]) == 0
        assert waited == [5.0, 5.0]
        out = capsys.readouterr().out
        assert (out.count("now: 2 running"), out.count("0 to compute, 120.0 s each")) == (2, 1)

    @pytest.mark.parametrize("options", [["--watch", "0"], ["--watch", "nan"], ["--watch", "3", "--json"]])
    def test_a_watch_that_cannot_be_is_refused(self, rows, capsys, options):
        assert main(["status", "toy", *options]) == 1
        assert capsys.readouterr().err.startswith("lmc: --watch takes seconds above 0, and does not go with --json")


class TestEndOfARun:
    """What ``lmc run`` says last, around a notebook that is not executed."""

    @pytest.fixture
    def end(self, toy, monkeypatch, capsys):
        def end(*arguments, run=lambda *_, **__: RESULT):
            monkeypatch.setattr(running, "run", run)
            code = main(["run", "toy", "--out", "out", *arguments])
            return code, *capsys.readouterr()

        return end

    def test_is_verdict_files_and_next_command(self, end):
        code, out, err = end("--profile", "quick")
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "toy (laptop, toy): supported",
            "  negative control, narrow: not supported",
            "written in 1.0 s: out/toy.ipynb, out/toy.json",
            f"next: {'lmc run toy --profile laptop':<54} an hour",
            f"      {'lmc run toy --help':<54} the parameters that -p changes",
            f"      {'lmc open toy':<54} its page in the book",
        ]

    def test_offers_no_larger_scale_behind_the_largest(self, end):
        assert "next: lmc run toy --profile paper\n" in end("--profile", "laptop")[1]
        assert re.search("next: lmc run toy --help ", end("--profile", "paper")[1])

    def test_of_records_names_their_file_and_what_follows_from_them(self, end, toy, monkeypatch):
        monkeypatch.setattr("lmc_lib.cli.records.keep", lambda *_, **__: Path("records/toy-laptop.json.gz"))
        out = end("--records", "--allow-dirty")[1]
        assert "out/toy.json, records/toy-laptop.json.gz\n" in out
        assert "next: python notebooks/refresh.py notebooks/toy.ipynb " in out
        assert "      lmc audit toy --json book/audit.json " in out

    @pytest.mark.parametrize(
        ("error", "code", "last"),
        [
            (running.Stopped("toy stopped in cell 3: ValueError: no"), 1, "out/toy.ipynb shows how far it came."),
            (PermissionError(13, "Permission denied", "out"), 1, "check this path and who may write there"),
            (TimeoutError("the kernel is silent"), 1, "lmc: the kernel is silent"),
            (KeyboardInterrupt(), 130, "lmc: stopped. What is finished is stored"),
        ],
    )
    def test_of_a_failure_says_what_to_do(self, end, error, code, last):
        def fail(*_, **__):
            raise error

        found, out, err = end(run=fail)
        assert (found, out) == (code, "")
        assert err.startswith("lmc: ")
        assert err.splitlines()[-1].startswith(last)


@pytest.mark.parametrize(
    ("seconds", "known", "lost", "words"),
    [
        (0.0, False, 0, "time left not known yet"),
        (90.0, False, 2, "more than 1.5 min left, 2 workers lost"),
        (90.0, True, 0, "about 1.5 min left"),
        (0.0, True, 0, ""),
        (0.0, True, 1, "1 worker lost"),
    ],
)
def test_the_bar_says_the_time_left_and_who_was_lost(seconds, known, lost, words, monkeypatch, tmp_path):
    path = tmp_path / "progress"
    path.write_text(json.dumps({"done": 3, "total": 7, "seconds": seconds, "all": known, "lost": lost}))
    terminal, stop = io.StringIO(), threading.Event()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(stop, "wait", lambda _: stop.is_set() or stop.set())  # one look at the file
    monkeypatch.setenv("COLUMNS", "100")
    running._watch(path, stop, "toy")
    shown = terminal.getvalue().split("\r")[-1]
    assert re.fullmatch(r"toy: 3/7 results \|[^|]*\| 00:00(, )?" + words, shown.strip())


@pytest.mark.parametrize("loading", ["argparse", "lmc_lib.definitions", "lmc_lib.cli.commands"])
def test_a_stop_while_the_commands_are_loading_is_told_in_a_line(loading):
    program = f"""
import sys

class Stops:
    def find_spec(self, name, path=None, target=None):
        if name == {loading!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stops())
from lmc_lib.cli import main

sys.exit(main(["list"]))
"""
    stopped = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert stopped.returncode == 130
    assert stopped.stderr == "lmc: stopped. What is finished is stored: the same command goes on from there\n"
    assert stopped.stdout == ""


def edited(report, old, new):
    """A report with some of its text replaced."""
    return json.loads(json.dumps(report).replace(old, new))


class TestJudging:
    """``lmc judge`` and ``lmc audit``: from the records alone."""

    @pytest.fixture
    def recorded(self, toy, monkeypatch):
        """Writes a file of records of the toy claim, whose networks fall by so much."""

        def recorded(centre, *, bound=0.5):
            condition = claims.Condition("fall", "the fall", bound, above=True, reason="", null=0.0, effect=2.0)
            claim = replace(claims.load("toy", toy), supported=(condition,), observable=())
            numbers = centre + 0.1 * np.random.default_rng(3).normal(size=(7, 2))
            found = claims.judge(claim, "wide", {"fall": claims.estimate_of_twins(claims.median, numbers)})
            report = claims.conclude(claim, [found], [], scale="quick", numbers={}).as_json()
            path = toy / "records" / "toy-quick.json.gz"
            records.write(path, report, {})
            for module in (verdicts, judging):
                monkeypatch.setattr(module, "load", lambda _: claim)
            monkeypatch.setattr(verdicts, "load_all", lambda: {"toy": claim})
            return path

        return recorded

    def test_judges_again_without_a_notebook(self, recorded, capsys):
        recorded(1.5)
        assert main(["judge", "--all"]) == 0
        assert capsys.readouterr().out == "toy (quick): supported\n"

    def test_says_the_same_as_json(self, recorded, capsys):
        path = recorded(1.5)
        assert main(["judge", "--all", "--json"]) == 0
        row = {"claim": "toy", "scale": "quick", "verdict": "supported", "changes": []}
        assert json.loads(capsys.readouterr().out) == [row]
        content = path.read_bytes()
        recorded(1.5, bound=4.0)
        path.write_bytes(content)
        assert main(["judge", "toy", "--json"]) == 1
        (row,) = json.loads(capsys.readouterr().out)
        assert row["changes"][0] == "verdict: supported -> not seen at this scale"

    def test_a_changed_rule_is_told_condition_by_condition(self, recorded, capsys, monkeypatch):
        path = recorded(1.5)
        content = path.read_bytes()
        recorded(1.5, bound=4.0)
        path.write_bytes(content)
        assert main(["judge", "toy"]) == 1
        said = capsys.readouterr()
        assert "  verdict: supported -> not seen at this scale" in said.out
        assert "  wide: verdict supported -> not seen at this scale" in said.out
        assert re.search(r"  wide: rule [0-9a-f]{12} -> [0-9a-f]{12}", said.out)
        assert "1 reports differ from their records" in said.err

    def test_a_changed_number_is_told(self, recorded, capsys):
        path = recorded(1.5)
        report = records.head(path)
        low = report["settings"][0]["conditions"][0]["estimate"]
        records.write(path, edited(report, f'"low": {low["low"]}', f'"low": {low["low"] - 0.01}'), {})
        assert main(["judge", "toy"]) == 1
        assert f"wide: fall {low['value']} [{low['low'] - 0.01}, {low['high']}] -> " in capsys.readouterr().out

    def test_a_report_without_studies_cannot_be_judged(self, recorded, capsys):
        path = recorded(1.5)
        records.write(path, edited(records.head(path), '"study"', '"studied"'), {})
        assert main(["judge", "toy"]) == 1
        assert "toy-quick.json.gz cannot be judged by the rule as it stands: " in capsys.readouterr().err
        assert main(["audit", "toy", "--draws", "20"]) == 1
        assert "toy-quick.json.gz cannot be audited: it holds no study of fall" in capsys.readouterr().err

    def test_audits_once_and_keeps_the_rows(self, recorded, toy, capsys, monkeypatch):
        recorded(1.5)
        file = toy / "audit.json"
        assert main(["audit", "toy", "--draws", "20", "--json", str(file)]) == 0
        (row,) = json.loads(file.read_text())["criteria"]
        asked = {"claim", "part", "condition", "unit", "n", "false_positive", "power", "coverage", "underpowered"}
        assert asked <= row.keys()
        assert (row["claim"], row["n"], row["power"], row["underpowered"]) == ("toy", 7, 1.0, False)
        assert "n = 7 networks, false " in capsys.readouterr().out
        before = file.read_text()
        assert row["precondition"] is False
        monkeypatch.setattr(claims, "audit", None)  # nothing is simulated again
        assert main(["audit", "toy", "--draws", "20", "--json", str(file)]) == 0
        assert file.read_text() == before

    @pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (Refused("no study"), 1)])
    def test_an_audit_that_is_stopped_keeps_its_rows(self, toy, capsys, monkeypatch, error, code):
        def row(quantity, power, claim="toy"):
            known = {"claim": claim, "scale": "quick", "part": "", "setting": "wide", "quantity": quantity, "key": "k"}
            rates = {"unit": "network", "n": 7, "needed": 9, "most": 40, "false_positive": 0.0, "coverage": 1.0}
            return known | rates | {"condition": "c", "power": power, "underpowered": False, "draws": 20}

        def stopped(*_, **__):
            yield row("fall", 0.7)
            raise error

        monkeypatch.setattr(judging, "audits", stopped)
        monkeypatch.setattr(verdicts, "records_of", lambda _: [])
        file = toy / "audit.json"
        file.write_text(judging.as_text([row("fall", 0.1), row("rise", 0.2), row("fall", 0.3, "another")]))
        assert main(["audit", "toy", "--draws", "20", "--json", str(file)]) == code
        found = [(each["claim"], each["quantity"], each["power"]) for each in json.loads(file.read_text())["criteria"]]
        assert found == [("another", "fall", 0.3), ("toy", "rise", 0.2), ("toy", "fall", 0.7)]

    def test_other_words_reach_the_rows_without_another_audit(self, recorded, toy, monkeypatch):
        recorded(1.5)
        file = toy / "audit.json"
        main(["audit", "toy", "--draws", "20", "--json", str(file)])
        monkeypatch.setattr(claims, "audit", None)
        plain = judging.load
        other = plain("toy").supported[0]
        claim = replace(plain("toy"), supported=(replace(other, label="how far it falls", effect_from="figure"),))
        monkeypatch.setattr(judging, "load", lambda _: claim)
        main(["audit", "toy", "--draws", "20", "--json", str(file)])
        (row,) = json.loads(file.read_text())["criteria"]
        assert (row["condition"], row["effect_from"]) == ("how far it falls is above 0.5", "figure")

    def test_preconditions_are_audited_too(self, recorded, toy, monkeypatch):
        recorded(1.5)
        plain = judging.load("toy")
        (fall,) = plain.supported
        first = replace(fall, bound=1.0, effect=1.2)
        monkeypatch.setattr(judging, "load", lambda _: replace(plain, observable=(first,)))
        file = toy / "audit.json"
        main(["audit", "toy", "--draws", "20", "--json", str(file)])
        rows = json.loads(file.read_text())["criteria"]
        assert [(row["condition"], row["effect"], row["precondition"]) for row in rows] == [
            (first.text, 1.2, True), (fall.text, fall.effect, False)
        ]  # fmt: skip

    def test_another_bound_or_study_is_audited_anew(self, recorded, toy):
        file = toy / "audit.json"
        keys = []
        for centre, bound in ((1.5, 0.5), (1.5, 0.6), (1.4, 0.6)):
            recorded(centre, bound=bound)
            main(["audit", "--all", "--draws", "20", "--json", str(file)])
            (row,) = json.loads(file.read_text())["criteria"]
            keys.append(row["key"])
        assert len(set(keys)) == 3

    def test_bad_requests_are_told(self, recorded, toy, capsys):
        recorded(1.5)
        assert main(["audit", "toy", "--draws", "3"]) == 1
        assert "--draws takes at least 20 simulated studies, got 3" in capsys.readouterr().err
        for content in ("[]", "no JSON", '{"criteria": [{}]}'):
            (toy / "audit.json").write_text(content)
            assert main(["audit", "toy", "--draws", "20", "--json", str(toy / "audit.json")]) == 1
            assert "audit.json is no file of audits: take it from git again" in capsys.readouterr().err
        assert main(["audit", "toy", "--draws", "20", "--json", str(toy / "nowhere" / "audit.json")]) == 1
        assert "nowhere for audit.json: make it, or name another one" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            main(["judge"])
        assert "one of the arguments CLAIM --all is required" in capsys.readouterr().err

    def test_a_claim_without_records_is_told(self, recorded, capsys):
        recorded(1.5).unlink()
        assert main(["judge", "toy"]) == 1
        assert "there are no records of toy: measure with lmc run toy --records" in capsys.readouterr().err
