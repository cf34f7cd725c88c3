"""From a request to a dataset, a picture and a record of its claims, and to the page of all of them."""

import json
import shutil
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import xarray as xr
from browser import BROWSER, REASON, browse
from drawn_figures import module, smoke
from markupsafe import escape

from experiments.execution import Execution
from experiments.marion.initialization import Initialization
from paper_figs import gallery, making, stored
from paper_figs.catalogue import PICTURES, sections
from paper_figs.making import Record, Request, budget_of, make_all
from paper_figs.marion import fig2, fig7
from paper_figs.program import main, parser
from resnet_sde.claims import Claim, at_least, at_most
from resnet_sde.runs.store import Store

LEFT = ("marion/fig2.json", "marion/fig2.nc.gz", "marion/fig2.pdf", "marion/fig2.png", "index.html")


def request(out: Path, **changes: object) -> Request:
    return replace(Request("smoke", 0, out, out / "training"), **changes)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def wrong() -> xr.Dataset:
    """Figure 2 with gradients that are divided by the wrong end."""
    ds = smoke("marion/fig2")
    return ds.assign(log10_gradient_growth=-ds.log10_gradient_growth)


def test_the_catalogue_is_whole() -> None:
    """Every module in the folder of a paper is a figure, or begins with an underscore."""
    root = Path(making.__file__).parent
    paths = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.py")]
    modules = {name: module(name) for name in paths if not name.endswith("__")}
    parts = ("compute", "draw", "check")
    figures = {
        name
        for name, found in modules.items()
        if all(hasattr(found, part) for part in parts) and len(signature(found.draw).parameters) == 1
    }
    assert set(PICTURES) == figures
    assert len(PICTURES) == len(set(PICTURES)) == sum(map(len, sections().values()))
    assert PICTURES[:3] == ("marion/fig1", "marion/fig2", "marion/fig3")
    assert 0 < sum(making.trained(module(name)) for name in PICTURES) < len(PICTURES)


class TestCommand:
    def test_computes_stores_and_redraws(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["marion/fig2", "--budget", "smoke", "--seed", str(2**40), "--out", str(tmp_path)]
        assert main(words) == 0
        first = capsys.readouterr().out
        assert "4 of 4 claims hold" in first
        assert files(tmp_path) == set(LEFT)
        assert main([*words, "--redraw"]) == 0
        assert capsys.readouterr().out.splitlines()[1:-1] == first.splitlines()[1:-1]

    def test_a_failed_claim_beyond_smoke_is_an_error(self, tmp_path: Path) -> None:
        for budget, status in (("smoke", 0), ("paper", 1)):
            stored.store(wrong().assign_attrs(budget=budget), tmp_path, "marion/fig2")
            assert main(["marion/fig2", "--redraw", "--out", str(tmp_path)]) == status

    def test_workers_change_no_bit(self, tmp_path: Path) -> None:
        names = ["marion/fig1", "marion/fig3", "marion/fig6"]
        assert main([*names, "--budget", "smoke", "--workers", "2", "--out", str(tmp_path)]) == 0
        for name in names:
            made, here = stored.load(tmp_path, name), smoke(name)
            xr.testing.assert_identical(made.drop_attrs(), here.drop_attrs())
        records = [Record.load(tmp_path, name) for name in names]
        assert [record.dataset_of for record in records] == ["marion/fig1", "marion/fig1", "marion/fig6"]

    def test_an_interrupted_figure_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny = replace(fig7.BUDGETS["smoke"], samples=2, inputs=1, depth=20, width=5)
        monkeypatch.setitem(fig7.BUDGETS, "smoke", tiny)
        words = ["marion/fig7", "--budget", "smoke", "--out", str(tmp_path)]
        with monkeypatch.context() as broken:
            broken.setattr(xr, "Dataset", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                main(words)
        (parts,) = tmp_path.glob("marion/*")
        assert len(list(parts.glob("*.npz"))) == len(tiny.hursts)
        with monkeypatch.context() as kept:
            kept.setattr(Store, "save", lambda *_: 1 / 0)  # nothing new is computed
            assert main(words) == 0
        assert files(tmp_path) == {name.replace("fig2", "fig7") for name in LEFT}

    @pytest.mark.parametrize(
        ("content", "message"),
        [(None, "does not exist"), (b"text", "no whole dataset"), (b"", "no whole dataset")],
    )
    def test_a_missing_or_damaged_file_is_one_sentence(
        self,
        content: bytes | None,
        message: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(making, "KEPT", tmp_path / "nowhere")
        if content is not None:
            (tmp_path / "marion").mkdir()
            (tmp_path / "marion/fig1.nc.gz").write_bytes(content)
        assert main(["marion/fig1", "--redraw", "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1

    @pytest.mark.parametrize("option", [("--seed", "-1"), ("--workers", "0")])
    def test_bad_numbers_are_one_sentence(
        self, option: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["marion/fig1", "--budget", "smoke", "--out", str(tmp_path), *option]) == 2
        assert capsys.readouterr().err.count("\n") == 1

    def test_an_unknown_figure_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as refusal:
            main(["fig99"])
        assert refusal.value.code == 2
        assert "fig99" in capsys.readouterr().err

    @pytest.mark.parametrize(("budgets", "taken"), [("smoke paper", "paper"), ("smoke cpu paper", "cpu")])
    def test_figures_without_a_budget_cpu_take_paper(self, budgets: str, taken: str, tmp_path: Path) -> None:
        figure = SimpleNamespace(BUDGETS=dict.fromkeys(budgets.split()))
        asked = parser().parse_args(["marion/fig1"])
        assert budget_of(figure, request(tmp_path, budget=asked.budget)) == taken


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("once")


@pytest.fixture
def figure2(once: Path) -> Path:
    """A folder with Figure 2, which is made once and only read."""
    if not any(once.iterdir()):
        (records,) = make_all(["marion/fig2"], request(once))
        assert not records[0].taken
    return once


class TestWhatIsStored:
    @pytest.fixture
    def out(self, figure2: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(figure2, tmp_path, dirs_exist_ok=True))

    def test_the_same_request_takes_it(self, out: Path) -> None:
        (records,) = make_all(["marion/fig2"], request(out))
        assert records[0].taken

    @pytest.mark.parametrize("other", ["seed", "experiment", "versions", "damaged", "a flipped bit"])
    def test_nothing_else_is_taken_for_it(
        self, other: str, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = request(out)
        if other == "seed":
            asked = request(out, seed=1)
        elif other == "experiment":
            monkeypatch.setitem(fig2.BUDGETS, "smoke", replace(fig2.BUDGETS["smoke"], samples=301))
        elif other == "versions":
            monkeypatch.setattr(making, "current_versions", lambda: {"torch": "0"})
        elif other == "a flipped bit":
            content = (out / "marion/fig2.nc.gz").read_bytes()
            flipped = content[:5000] + bytes([content[5000] ^ 8]) + content[5001:]
            (out / "marion/fig2.nc.gz").write_bytes(flipped)
        else:
            (out / "marion/fig2.nc.gz").write_bytes(b"cut")
        (records,) = make_all(["marion/fig2"], asked)
        assert not records[0].taken

    def test_what_comes_with_the_code_is_drawn(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kept, fresh = out / "kept", out / "fresh"
        for folder in (kept, fresh):
            folder.mkdir()
        monkeypatch.setattr(making, "KEPT", kept)
        make_all(["marion/fig2"], request(out, keep=True)).__next__()
        assert files(kept) == {"marion/fig2.nc.gz"}
        (records,) = make_all(["marion/fig2"], request(fresh, redraw=True))
        assert records[0].taken
        (records,) = make_all(["marion/fig2"], request(fresh))
        assert not records[0].taken, "only trained networks are taken from there without being asked"

    def test_every_damaged_byte_is_seen(self, out: Path) -> None:
        path = out / "marion/fig2.nc.gz"
        whole = path.read_bytes()
        for at in [*range(100), *range(100, len(whole), len(whole) // 150)]:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(ValueError, match="no whole dataset"):
                stored.load(out, "marion/fig2")
        path.write_bytes(whole)
        xr.testing.assert_identical(stored.load(out, "marion/fig2"), xr.load_dataset(path, engine="scipy"))

    def test_edited_code_computes_anew(self, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        inputs = Initialization.inputs
        monkeypatch.setattr(Initialization, "inputs", lambda self, seed: inputs(self, seed) * 2)
        (records,) = make_all(["marion/fig2"], request(out))
        assert not records[0].taken

    def test_a_folder_of_parts_that_another_run_removes(self, out: Path) -> None:
        """Two runs of one figure into one folder: the first to end removes what the other still writes to."""
        tiny = replace(fig7.BUDGETS["smoke"], samples=1, inputs=1, depth=10, width=5)
        parts = out / "parts"
        saved = []
        save = Store.save

        def removed(self: Store, *what: object) -> bool:
            shutil.rmtree(parts, ignore_errors=True)
            saved.append(save(self, *what))
            return saved[-1]

        with pytest.MonkeyPatch.context() as context:
            context.setattr(Store, "save", removed)
            found = tiny.run(how=Execution(store=parts))
        assert saved == [True] * len(tiny.hursts)
        xr.testing.assert_identical(found, tiny.run())

    def test_the_same_dataset_makes_the_same_file(self, tmp_path: Path) -> None:
        for name in ("one", "other"):
            stored.store(smoke("marion/fig2"), tmp_path, name)
        one, other = ((tmp_path / f"{name}.nc.gz").read_bytes() for name in ("one", "other"))
        assert one == other
        xr.testing.assert_identical(stored.load(tmp_path, "one"), smoke("marion/fig2"))

    def test_a_record_comes_back(self, out: Path) -> None:
        record = Record.load(out, "marion/fig2")
        assert record is not None
        assert (record.budget, record.seed, record.dataset_of) == ("smoke", 0, "marion/fig2")
        assert record.claims == tuple(fig2.check(stored.load(out, "marion/fig2")))
        assert record.title.endswith(".")
        (out / "marion/fig2.json").write_text("{}")
        assert Record.load(out, "marion/fig2") is None

    def test_a_record_of_another_figure_is_none(self, out: Path) -> None:
        for name in ("marion/fig3", '"><script>a()</script>', "../fig2", None):
            record = json.loads((out / "marion/fig2.json").read_text(encoding="utf-8"))
            (out / "marion/fig2.json").write_text(json.dumps({**record, "name": name}), encoding="utf-8")
            assert Record.load(out, "marion/fig2") is None


# The page


def made(folder: Path, name: str, *claims: Claim) -> None:
    """A record with a picture, which is a plot of Figure 2."""
    Record(name, f"A figure, {name}.", "Of `code` & more.\n\nTwice.", name, "paper", 0, 61.0, {"torch": "2"},
           False, claims).save(folder)  # fmt: skip
    shutil.copy(folder / "picture.png", folder / f"{name}.png")


@pytest.fixture
def folder(figure2: Path, tmp_path: Path) -> Path:
    """Records of all figures; one has a claim that fails, with a reason."""
    shutil.copy(figure2 / "marion/fig2.png", tmp_path / "picture.png")
    good, bad = (
        at_least("good", 1.0, 0.5),
        at_most("<bad>", float("nan"), 1.0, "No <x>."),
    )
    for name in PICTURES:
        made(tmp_path, name, good, *([bad] if name == "marion/fig4" else []))
    return tmp_path


HARNESS = """<!doctype html>
<iframe id="frame" style="border: 0; width: WIDTHpx; height: 900px" srcdoc="REPORT"></iframe>
<pre id="found"></pre>
<script>
document.getElementById("frame").onload = async (event) => {
  const inside = event.target.contentDocument;
  const all = (selector) => [...inside.querySelectorAll(selector)];
  const open = all("article details[open]").map((e) => e.closest("article").id);
  for (const details of all("details")) details.open = true;
  await Promise.all(all("img").map((image) => image.decode().catch(() => null)));
  const width = inside.documentElement.clientWidth;
  const found = {
    articles: all("article").map((article) => article.id),
    shown: all("img").filter((image) => image.naturalWidth > 0 && image.height > 50).length,
    width: width,
    page: inside.documentElement.scrollWidth,
    cut: all("td, th, h3, p, img, code").filter((e) => e.getBoundingClientRect().right > width + 1).length,
    open: open,
    text: inside.body.innerText,
  };
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason=REASON)
@pytest.mark.parametrize("width", [1280, 400])
def test_the_gallery_in_a_browser(width: int, folder: Path) -> None:
    text = gallery.write(folder).read_text(encoding="utf-8")
    seen, console = browse(HARNESS, text, width, folder)
    assert console == []
    assert seen["articles"] == list(PICTURES)
    assert seen["shown"] == len(PICTURES)
    assert seen["page"] <= seen["width"], "the page does not scroll sideways"
    assert seen["cut"] == 0
    assert seen["open"] == ["marion/fig4"], "what fails is shown"
    assert f"{len(PICTURES)} of {len(PICTURES) + 1} claims hold" in seen["text"]
    assert "<bad>" in seen["text"]
    assert "No <x>." in seen["text"]
    assert "python -m paper_figs marion/fig1 --budget paper --seed 0" in seen["text"]


def test_fields_of_records_are_text(folder: Path) -> None:
    """Whatever a record holds, no markup of the gallery is made of it."""
    odd = "<script>a()</script>\"&'"
    plain = json.loads((folder / "marion/fig1.json").read_text(encoding="utf-8"))
    fields = {"title": odd, "caption": odd, "budget": odd, "seed": odd, "versions": {odd: odd}}
    (folder / "marion/fig1.json").write_text(json.dumps({**plain, **fields}), encoding="utf-8")
    assert Record.load(folder, "marion/fig1") is not None
    text = gallery.write(folder).read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count(str(escape(odd))) >= 5


def test_the_gallery_links_what_is_there(folder: Path) -> None:
    (folder / "marion/fig1.md").write_text("| table |")
    (folder / "marion/fig3.png").unlink()
    (folder / "marion/fig4.png").write_bytes(b"cut")
    text = gallery.write(folder).read_text(encoding="utf-8")
    assert 'href="marion/fig1.md"' in text
    assert 'href="marion/fig2.md"' not in text
    for target in ("marion/fig1.png", "marion/fig1.md"):
        assert (folder / target).exists()
    assert text.count("There is no picture of") == 2
    assert all(f'id="{name}"' in text for name in PICTURES)
    for path in folder.rglob("*.json"):
        path.unlink()
    assert 'id="marion/fig1"' not in gallery.write(folder).read_text(encoding="utf-8")
