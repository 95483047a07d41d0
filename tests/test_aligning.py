"""Two files of weights in, one out: it computes what the second did, and what is wrong is told before any work."""

import json
import os
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lmc_lib import connectivity, norms, rng, symmetry
from lmc_lib.cli import aligning, main, weight_files
from lmc_lib.data import Split

ROOT = Path(__file__).parents[1]

NETWORKS = """\
import sys
from torch import nn

def plain(classes=3, width=9):
    first = nn.Flatten(), nn.Linear(8, width), nn.ReLU()
    return nn.Sequential(*first, nn.Linear(width, 7), nn.ReLU(), nn.Linear(7, classes))

def convolutional(classes=3):
    first = nn.Conv2d(2, 6, 1), nn.BatchNorm2d(6), nn.ReLU()
    return nn.Sequential(*first, nn.Conv2d(6, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(5, classes))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 6, bias=False)
        self.outer = nn.Linear(6, 4, bias=False)
        self.mixed = nn.Linear(6, 6, bias=False)
        self.again = nn.Linear(6, 6, bias=False)
        self.again.weight = self.mixed.weight

    def forward(self, x):
        return self.outer(self.again(self.mixed(self.inner(x.flatten(1)[:, :4])).relu()).relu())

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x):
        return {"scores": self.second(self.first(x.flatten(1)).relu())}

network = plain()
number = 3

def failing(): raise ValueError("no such size\\nand more")
def leaving(): sys.exit(3)
def nothing(): return "a network"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module of networks, in which commands run; paths of imports stay as they are."""
    (tmp_path / "own_networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_networks", raising=False)
    return tmp_path


def made(name, seed, **options):
    """The state of a network that is drawn anew, statistics and all."""
    sys.path.insert(0, ".")
    with torch.random.fork_rng(devices=[]):
        import own_networks

        network = getattr(own_networks, name)(**options).eval()
    return network, {name: value.float() for name, value in drawn(network, seed).items()}


def drawn(network, seed):
    state = symmetry.proof.random_weights(network, rng.stream(seed, "weights"))
    return {name: value if value.is_floating_point() else value + 7 for name, value in state.items()}


def shuffled(network, state, seed=5, inputs=None):
    spec = symmetry.permutation_spec(network, torch.zeros(2, 2, 2, 2) if inputs is None else inputs)
    return symmetry.permute(state, symmetry.random(spec, generator=rng.stream(seed, "planted")), spec)


def examples(path="data.npz", count=40):
    inputs = torch.randn(count, 2, 2, 2, generator=rng.stream(0, "inputs"))
    labels = torch.randint(3, (count,), generator=rng.stream(0, "labels"))
    np.savez(path, inputs=inputs.numpy(), labels=labels.numpy())
    return Split(inputs, labels)


def align(*more, model="plain", a="a.pt", b="b.safetensors", out="out.safetensors"):
    return main(["align", a, b, "--model", f"own_networks:{model}", "-o", out, *more])


SHAPE = ("--example", "1,2,2,2")


@pytest.fixture
def pair(here):
    """Files of a network and of its copy with units in another order, ``a.pt`` and ``b.safetensors``."""

    def write(name, **options):
        network, state = made(name, 0, **options)
        moved = shuffled(network, state)
        torch.save(state, "a.pt")
        save_file(moved, "b.safetensors", metadata={"made by": "me", "steps": "7"})
        return SimpleNamespace(network=network, first=state, second=moved)

    return write


class TestAlign:
    @pytest.mark.parametrize("model", ["plain", "convolutional"])
    @pytest.mark.parametrize("by", ["weights", "activations"])
    def test_a_shuffled_copy_comes_back_to_the_bit(self, pair, model, by, capsys):
        both = pair(model)
        examples()
        assert any(not torch.equal(both.first[name], both.second[name]) for name in both.first)
        assert align("--data", "data.npz", "--by", by, "--points", "3", "--json", "r.json", model=model) == 0
        found = load_file("out.safetensors")
        assert found.keys() == both.first.keys()
        assert all(torch.equal(found[name], both.first[name]) for name in found)
        report = json.loads(Path("r.json").read_text())
        assert report["distance"]["before"] > 0.5
        assert report["distance"]["after"] == 0.0
        assert report["change"] < 1e-5
        assert report["barriers"]["after"]["loss"] < 1e-6 < report["barriers"]["before"]["loss"]
        assert "out.safetensors" in capsys.readouterr().out

    def test_names_precision_and_text_are_those_of_the_second_file(self, pair):
        both = pair("convolutional")
        second = {f"module.{name}": each.double() if name == "0.bias" else each for name, each in both.second.items()}
        second |= {"module.3.weight": second["module.3.weight"].bfloat16()}
        save_file(second, "b.safetensors", metadata={"made by": "me", "steps": "7"})
        assert align(*SHAPE, model="convolutional") == 0
        with safe_open("out.safetensors", framework="pt") as file:
            assert file.metadata() == {"made by": "me", "steps": "7"}
        found = load_file("out.safetensors")
        assert found.keys() == second.keys()
        for name, value in found.items():
            assert value.dtype == second[name].dtype
            assert torch.equal(value, both.first[name.removeprefix("module.")].to(value.dtype))

    def test_another_network_computes_what_it_did_and_is_nearer(self, here):
        network, first = made("convolutional", 0)
        torch.save(first, "a.pt")
        second = made("convolutional", 1)[1]
        torch.save({"epoch": 4, "state_dict": {f"module.{name}": each for name, each in second.items()}}, "b.pt")
        assert align(*SHAPE, "--json", "r.json", model="convolutional", b="b.pt") == 0
        moved = {name.removeprefix("module."): each for name, each in load_file("out.safetensors").items()}
        inputs = torch.randn(9, 2, 2, 2, generator=rng.stream(3))
        before, after = (connectivity.predict(network, each, inputs) for each in (second, moved))
        assert torch.allclose(before, after, atol=1e-5 * float(before.abs().max()))
        assert any(not torch.equal(second[name], moved[name]) for name in second)
        distance = json.loads((here / "r.json").read_text())["distance"]
        assert distance["after"] < distance["before"]

    def test_weights_that_are_tied_move_as_one_and_need_be_there_once(self, here):
        network, state = made("Tied", 0)
        once = {name: each for name, each in state.items() if name != "again.weight"}
        torch.save(state, "a.pt")
        moved = shuffled(network, state)
        save_file({name: moved[name] for name in once}, "b.safetensors")
        assert align(*SHAPE, model="Tied") == 0
        found = load_file("out.safetensors")
        assert found.keys() == once.keys()
        assert all(torch.equal(found[name], once[name]) for name in once)

    def test_an_example_of_a_file_and_arguments_of_the_network_are_taken(self, pair):
        pair("plain", classes=5, width=11)
        np.save("x.npy", np.ones((2, 8), np.float32))
        save_file({"input": torch.ones(2, 8)}, "x.safetensors")
        for place, example in enumerate(("x.npy", "x.safetensors")):
            for arguments in ('{"classes": 5, "width": 11}', "[5, 11]"):
                out = f"{place}{arguments[0]}.safetensors"
                assert align("--example", example, "--model-args", arguments, out=out) == 0

    def test_a_permutation_that_changes_outputs_is_not_written(self, pair, monkeypatch, capsys):
        pair("plain")
        wrong = torch.arange(9).roll(1)
        permute = symmetry.permute

        def broken(state, permutation, spec):
            moved = permute(state, permutation, spec)
            return moved | {"1.weight": moved["1.weight"][wrong]}

        monkeypatch.setattr(aligning.symmetry, "permute", broken)
        assert align(*SHAPE) == 1
        assert "no symmetry, and nothing is written" in capsys.readouterr().err
        assert not Path("out.safetensors").exists()


class TestSkipped:
    def test_a_head_of_another_task_stays_and_moves_with_the_units_before_it(self, here, capsys):
        _, first = made("plain", 0)
        other, second = made("plain", 1, classes=8)
        second |= {name: value for name, value in first.items() if not name.startswith("5.")}
        torch.save(first, "a.pt")
        save_file(shuffled(other, second), "b.safetensors")
        assert align(*SHAPE, "--skip", "5.*", "--model-args", '{"classes": 8}') == 0
        found = load_file("out.safetensors")
        assert all(torch.equal(found[name], second[name]) for name in second)
        assert "5.bias, 5.weight" in capsys.readouterr().out

    def test_counters_may_be_missing_and_other_entries_are_carried_over(self, pair):
        both = pair("convolutional")
        second = {name: each for name, each in both.second.items() if "num_batches" not in name}
        shared = torch.arange(3.0)
        torch.save(second | {"average.decay": shared, "average.other": shared[1:]}, "b.pt")
        assert align(*SHAPE, "--skip", "*num_batches*", "--skip", "average.*", model="convolutional", b="b.pt") == 0
        found = load_file("out.safetensors")
        assert found.keys() == second.keys() | {"average.decay", "average.other"}
        assert torch.equal(found["average.other"], shared[1:])
        assert all(torch.equal(found[name], both.first[name]) for name in second)


class TestBarrier:
    @pytest.mark.parametrize("model", ["plain", "convolutional"])
    def test_is_that_of_the_library(self, here, model):
        network, first = made(model, 0)
        _, second = made(model, 1)
        torch.save(first, "a.pt")
        save_file(second, "b.safetensors")
        split = examples(count=600)
        arguments = ["a.pt", "b.safetensors", "--model", f"own_networks:{model}", "--data", "data.npz", "--points", "7"]
        assert main(["barrier", *arguments, "--json", "r.json"]) == 0
        reset = split.inputs[:512] if norms.has_statistics(network) else None
        line = connectivity.curves(network, first, second, {"": split}, points=7, reset_inputs=reset)[""]
        report = json.loads((here / "r.json").read_text())
        assert report["barriers"]["line"] == {of: line.barrier(of) for of in ("loss", "error")}
        assert report["lines"]["line"]["loss"] == line.loss.tolist()
        assert len(set(report["lines"]["line"]["loss"])) == 7

    def test_that_is_told_after_a_permutation_is_that_of_the_file_that_is_written(self, here):
        torch.save(made("convolutional", 0)[1], "a.pt")
        save_file(made("convolutional", 1)[1], "b.safetensors")
        examples()
        more = ("--data", "data.npz", "--points", "5")
        assert align(*more, "--json", "r.json", model="convolutional") == 0
        walk = ["barrier", "a.pt", "out.safetensors", "--model", "own_networks:convolutional", *more]
        assert main([*walk, "--json", "s.json"]) == 0
        told, found = (json.loads((here / name).read_text())["barriers"] for name in ("r.json", "s.json"))
        assert told["after"] == found["line"]
        assert told["after"] != told["before"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def refused(capsys, *arguments):
    """The one line with which a command is refused, before anything is matched or written."""
    assert main(list(arguments)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lmc: ")
    assert said.err.count("\n") == 1
    assert not Path("out.safetensors").exists()
    return said.err


ALIGN = ("align", "a.pt", "b.safetensors", "-o", "out.safetensors")
PLAIN = (*ALIGN, "--model", "own_networks:plain")


@pytest.fixture
def unmatched(monkeypatch):
    """Nothing is traced or matched."""

    def never(*arguments, **options):
        raise AssertionError("it was to be refused before")

    monkeypatch.setattr(aligning, "symmetry", SimpleNamespace(permutation_spec=never))


@pytest.mark.usefixtures("unmatched")
class TestRefused:
    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    def test_code_in_a_file_is_not_run(self, pair, suffix, capsys):
        pair("plain")
        Path(f"evil.{suffix}").write_bytes(pickle.dumps({"1.weight": Evil()}))
        torch.save({"1.weight": Evil()}, "zipped.pt")
        for name in (f"evil.{suffix}", "zipped.pt"):
            said = refused(capsys, "align", "a.pt", name, *PLAIN[3:], *SHAPE)
            assert f"{name} is" in said
            assert not Path("was-run").exists()
        assert "no code of a file is run" in said

    @pytest.mark.parametrize("name", ["a.pt", "b.safetensors"])
    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
    def test_a_file_that_was_cut_is_damaged(self, pair, name, share, capsys):
        pair("plain")
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(share * len(content))])
        assert f"{name} is " in refused(capsys, *PLAIN, *SHAPE)

    def test_weights_that_are_not_finite_are_named(self, pair, capsys):
        both = pair("plain")
        save_file(both.second | {"3.bias": both.second["3.bias"] / 0}, "b.safetensors")
        assert "3.bias in b.safetensors holds values that are not finite" in refused(capsys, *PLAIN, *SHAPE)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ({"0.weight": torch.ones(2, 3)}, "6 are missing (1.bias, 1.weight, 3.bias, ...) and 1 are not in"),
            ({"epoch": 3, "optimizer": {}}, "state_dict, model_state_dict, model, of which it has none"),
            ({"state_dict": {}, "model": {}}, "of which it has state_dict, model"),
            ([torch.ones(2)], "holds no weights but a list"),
            ({"1.weight": torch.ones(2), "step": 3}, "holds step, no tensors, among its weights"),
        ],
        ids=["others", "none", "two", "list", "mixed"],
    )  # fmt: skip
    def test_what_is_no_file_of_this_network_is_told_by_what_it_has(self, pair, content, told, capsys):
        pair("plain")
        torch.save(content, "a.pt")
        assert told in refused(capsys, *PLAIN, *SHAPE)

    def test_another_shape_and_a_complex_weight_are_named(self, pair, capsys):
        both = pair("plain")
        said = refused(capsys, *PLAIN, *SHAPE, "--model-args", '{"width": 10}')
        assert "1.weight is 9 x 8 in a.pt, but 10 x 8 in the network" in said
        torch.save(both.first | {"1.bias": both.first["1.bias"] + 1j}, "a.pt")
        assert "1.bias is complex in a.pt" in refused(capsys, *PLAIN, *SHAPE)

    @pytest.mark.parametrize(
        ("model", "told"),
        [
            ("plain", "is package.module:factory"),
            ("own_networks", "is package.module:factory"),
            ("own_networks:os; print(1)", "is package.module:factory"),
            ("not_there:plain", "no module not_there:"),
            ("own_networks.more:plain", "own_networks.more"),
            ("own_networks:plan", "did you mean plain"),
            ("own_networks:number", "own_networks:number is a int"),
            ("own_networks:network", "is a Sequential: name a function"),
            ("own_networks:nothing", "returned a str"),
            ("own_networks:failing", "failed: ValueError: no such size. It"),
            ("own_networks:leaving", "failed: SystemExit: 3"),
            ("broken:plain", "broken cannot be imported: SyntaxError"),
            ("importing:plain", "there is no module not_there, which importing imports"),
        ],
    )
    def test_what_makes_no_network_is_told(self, pair, model, told, capsys):
        pair("plain")
        Path("broken.py").write_text("def plain(:\n")
        Path("importing.py").write_text("import not_there\n")
        assert told in refused(capsys, *ALIGN, *SHAPE, "--model", model)

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (["--model-args", "{classes: 3}"], "--model-args is JSON"),
            (["--model-args", "3"], "--model-args is a JSON object"),
            (["--model-args", '{"sizes": 3}'], "failed: TypeError: plain() got an unexpected keyword argument"),
            (["--example", "1,0,2"], "has no numbers"),
            (["--example", "1x3"], "--example is a shape such as"),
            (["--example", "x.npy"], "there is no file x.npy"),
            (["--example", "cut.npy"], "cut.npy is damaged"),
            (["--example", "objects.npy"], "objects.npy is damaged, or holds other things than arrays of numbers"),
            (["--example", "1,3,2,2"], "does not take these inputs (float32 of shape 1 x 3 x 2 x 2): RuntimeError"),
            ([], "the network is run once: give --example"),
            (["--points", "2"], "--points 2"),
            (["--by", "activations"], "give these, with --data FILE"),
            (["--device", "cuda:77"], "--device cuda:77 cannot be used here"),
            (["--device", "moon"], "--device moon cannot be used here"),
            (["--json", "nowhere/r.json"], "there is no folder nowhere"),
            (["--html", "."], "is a folder or a device"),
        ],
    )
    def test_each_wrong_option_is_told_with_what_is_right(self, pair, more, told, capsys):
        pair("plain")
        Path("cut.npy").write_bytes(b"\x93NUMPY\x01")
        np.save("objects.npy", np.array([Evil()], object), allow_pickle=True)
        assert told in refused(capsys, *PLAIN, *more)
        assert not Path("was-run").exists()

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"labels": None}, "has no labels but inputs"),
            (
                {"labels": np.zeros((40, 1), int)},
                "data.npz: every example needs one label, a whole number in a vector, got int64 of shape (40, 1)",
            ),
            ({"labels": np.zeros(40)}, "data.npz: labels are whole numbers, got float64"),
            ({"labels": np.zeros(7, int)}, "data.npz: every example needs one label, got 40 examples and 7 labels"),
            ({"labels": np.full(40, 3)}, "data.npz: labels are classes from 0 to 2, and example 0 has the label 3"),
            ({"labels": np.arange(40) - 38}, "data.npz: labels are numbers from 0, and example 0 has the label -38"),
            ({"inputs": np.zeros((40, 2, 2, 2), int)}, "inputs in data.npz are int64"),
            ({"inputs": np.full((40, 2, 2, 2), np.nan)}, "hold values that are not finite"),
            ({"inputs": np.zeros((40, 5, 2, 2))}, "does not take these inputs"),
        ],
    )
    def test_wrong_examples_are_told(self, pair, change, told, capsys):
        pair("plain")
        split = examples()
        arrays = {"inputs": split.inputs.numpy(), "labels": split.labels.numpy()} | change
        np.savez("data.npz", **{name: each for name, each in arrays.items() if each is not None})
        assert told in refused(capsys, *PLAIN, "--data", "data.npz")

    def test_outputs_that_are_no_scores_are_told_where_losses_are_asked_for(self, pair, capsys):
        pair("Odd")
        examples()
        arguments = ("a.pt", "b.safetensors", "--model", "own_networks:Odd", "--data", "data.npz")
        assert "the network makes a dict" in refused(capsys, "barrier", *arguments)

    @pytest.mark.parametrize("name", ["out.safetensors", "r.json", "r.html"])
    def test_what_is_there_stays_without_force(self, pair, name, capsys):
        pair("plain")
        Path(name).write_text("of before")
        arguments = (*PLAIN, *SHAPE, "--json", "r.json", "--html", "r.html")
        assert main(list(arguments)) == 1
        assert f"{name} is there already" in capsys.readouterr().err
        assert Path(name).read_text() == "of before"


def test_outputs_of_any_kind_are_compared_and_force_replaces(pair):
    both = pair("Odd")
    Path("out.safetensors").write_text("of before")
    assert align(*SHAPE, "--force", model="Odd") == 0
    found = load_file("out.safetensors")
    assert all(torch.equal(found[name], both.first[name]) for name in found)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_writer_that_is_stopped_leaves_no_file(pair, here, error, monkeypatch, capsys):
    pair("plain")
    before = sorted(here.iterdir())

    def half(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(weight_files, "save_file", half)
    assert align(*SHAPE) == (130 if error is KeyboardInterrupt else 1)
    assert sorted(path for path in here.iterdir() if path.name != "__pycache__") == [
        path for path in before if path.name != "__pycache__"
    ]
    if error is KeyboardInterrupt:
        assert capsys.readouterr().err.endswith("lmc: stopped. nothing was written\n")


class TestPage:
    def test_stands_alone_and_shows_names_as_they_are(self, pair, here):
        pair("plain")
        examples()
        name = "<img src=x onerror=alert(1)>&.pt"
        Path("a.pt").rename(name)
        assert align("--data", "data.npz", "--points", "3", "--html", "r.html", a=name) == 0
        page = (here / "r.html").read_text()
        seen = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag, attributes):
                seen.append((tag, dict(attributes)))

        Reader().feed(page)
        tags = [tag for tag, _ in seen]
        assert not {"img", "script", "link", "iframe"} & set(tags)
        assert not [value for _, each in seen for key, value in each.items() if key in ("src", "href")]
        assert "url(" not in page
        assert "@import" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;&amp;.pt" in page

    def test_draws_each_curve_at_its_values(self, pair, here):
        pair("plain")
        examples()
        assert align("--data", "data.npz", "--points", "5", "--html", "r.html", "--json", "r.json") == 0
        lines = json.loads((here / "r.json").read_text())["lines"]
        drawn = re.findall(r'<polyline class="curve (\w+)" points="([^"]*)"', (here / "r.html").read_text())
        assert [name for name, _ in drawn] == ["first", "second"] * 2
        top = max(lines["before"]["loss"] + lines["after"]["loss"])
        heights = [float(point.split(",")[1]) for point in drawn[0][1].split()]
        shares = [(184.0 - height) / 174.0 for height in heights]
        assert shares == pytest.approx([value / top for value in lines["before"]["loss"]], abs=1e-3)

    def test_has_no_figures_without_examples(self, pair, here):
        pair("plain")
        assert align(*SHAPE, "--html", "r.html") == 0
        page = (here / "r.html").read_text()
        assert "<svg" not in page
        assert "2 groups of 16 units" in page


@pytest.mark.slow
def test_the_commands_of_the_guide_do_what_it_says(tmp_path):
    guide = json.loads((ROOT / "notebooks" / "guides" / "align-your-own-models.ipynb").read_text())
    text = "".join("".join(cell["source"]) for cell in guide["cells"])
    commands = re.search(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[1]
    folders = (os.path.dirname(sys.executable), os.environ["PATH"])  # noqa: PTH120 -- a link is not to be followed
    environment = os.environ | {"PATH": os.pathsep.join(folders), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    before, after = re.search(r"barrier +(\S+) before, (\S+) after, in loss", done.stdout).groups()
    assert f"barrier    {after}, in loss" in said
    assert float(after) < 2 / 3 * float(before)  # as the guide says
    assert done.stderr == ""
    assert "<svg" in (tmp_path / "report.html").read_text()
