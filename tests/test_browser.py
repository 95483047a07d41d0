"""The built site in a browser: every page, wide and narrow, light and dark; and each check, on a page with its fault.

The pages of the reference, a hundred of one kind, are made by a program; of them only the links are checked.
"""

import os
import re
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import page_faults as faults
import pytest
from playwright.sync_api import expect, sync_playwright
from test_first_page import PAPERS, ROOT, forty_five

from builder import first_page
from lmc_lib import claims, plotting
from lmc_lib.definitions import CHAPTERS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--no-sandbox",  # a container's user is often root, which the sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FIRST = "book/index.html"
MEGABYTES = 30
STATIC = ROOT / "book" / "_static"


def find_browser():
    """The path of the system's browser; without one, continuous integration fails and other runs go on."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop(f"no browser (looked for {', '.join(BROWSERS)}): apt-get install chromium")
    return path


@pytest.fixture(scope="module")
def browser():
    """The browser of the system, with a new profile; Playwright's package brings only the driver."""
    # It is closed after this file: while it is open, nothing else in this process can run an event loop.
    path = find_browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context(reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture
def page(context):
    page = context.new_page()
    yield page
    page.close()


def visit(page, address, known, *, scroll=True, judged=False):
    """What is wrong with a page, by kind, looked at wide and narrow, light and dark.

    ``known`` holds the looks of text that were measured before, and ``scroll`` says whether a table may need scrolling
    on a wide screen, ``judged`` whether the page has a verdict.
    """
    found = defaultdict(list)
    page.set_viewport_size(WIDE)
    page.goto(address)
    faults.settle(page)
    found["image"] += faults.image_faults(page)
    found["mathematics"] += faults.mathematics_faults(page)
    found["name"] += faults.name_faults(page)
    found["code"] += faults.code_faults(page)
    found["verdict"] += faults.verdict_faults(page) if judged else []
    for scheme in ("light", "dark"):
        faults.show(page, scheme)
        found["contrast"] += [f"{scheme}: {told}" for told in faults.contrast_faults(page, known)]
    for size, may_scroll, figure_may in ((WIDE, scroll, False), (NARROW, True, True)):
        page.set_viewport_size(size)
        width = f"{size['width']} px"
        found["sideways"] += [f"{width}: {told}" for told in faults.sideways_faults(page)]
        found["table"] += [f"{width}: {told}" for told in faults.table_faults(page, may_scroll=may_scroll)]
        found["figure"] += [f"{width}: {told}" for told in faults.figure_faults(page, may_scroll=figure_may)]
    found["contents"] += faults.contents_faults(page)
    return found


class TestSite:
    """The site as it is built."""

    pytestmark = pytest.mark.slow

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, book):
        return book / "_build" / "html"

    @pytest.fixture(scope="class")
    @classmethod
    def served(cls, site):
        """Its address, while it is served on this machine."""
        with faults.served(site) as address:
            yield address

    @pytest.fixture(scope="class")
    @classmethod
    def seen(cls, context, site, served):
        """What is wrong with its pages, by kind; each is opened once."""
        page = context.new_page()
        heard, known = faults.listen(page, served), set()
        found = defaultdict(list)
        for name in (path.relative_to(site).as_posix() for path in faults.pages(site)):
            if name == "index.html" or name.startswith("book/api/"):
                continue
            for kind, told in visit(
                page, served + name, known, scroll=name != FIRST, judged=name.startswith("book/claims/")
            ).items():
                found[kind] += [f"{name}: {each}" for each in told]
            found["heard"] += [f"{name}: {each}" for each in heard]
            heard.clear()
        page.close()
        return found

    @pytest.mark.parametrize(
        "kind",
        [
            "heard",
            "image",
            "mathematics",
            "name",
            "contrast",
            "sideways",
            "table",
            "contents",
            "code",
            "figure",
            "verdict",
        ],
    )
    def test_pages_have_no_fault_of_a_kind(self, seen, kind):
        assert not seen[kind], "\n".join(seen[kind])

    def test_the_address_of_the_site_leads_to_its_first_page(self, page, served):
        page.goto(served)
        page.wait_for_url(served + FIRST)
        assert page.url == served + FIRST
        assert page.locator("h1").first.inner_text().startswith("The LMC companion")

    def test_rows_lead_to_the_pages_of_their_claims(self, page, served):
        landed = faults.follow_claims(page, served + FIRST)
        assert list(landed.values()) == [(f"claims/{name}.html", 200) for name in claims.load_all()], landed

    def test_links_lead_to_files_and_places_that_exist(self, site):
        found = faults.link_faults(site)
        assert not found, "\n".join(found)

    def test_is_small(self, site):
        assert faults.size_faults(site, MEGABYTES) == []

    def test_the_first_page_loads_little(self, page, site, served):
        assert faults.loaded_bytes(page, served + FIRST, site) <= 1_000_000

    def test_the_first_screen_names_what_was_found(self, page, served):
        page.set_viewport_size(WIDE)
        page.goto(served + FIRST)
        for name in ("Weak", "Simultaneous", "Strong"):
            link = page.get_by_role("link", name=re.compile(f"^{name} connectivity")).first
            assert link.bounding_box()["y"] < WIDE["height"], name
        assert page.get_by_text("ten more wrong answers in a hundred").bounding_box()["y"] < WIDE["height"]

    def test_the_first_page_offers_no_contents_that_it_does_not_have(self, page, served):
        page.set_viewport_size(NARROW)
        for name, offered in ((FIRST, False), ("book/methods.html", True)):
            page.goto(served + name)
            assert page.locator(".secondary-toggle").is_visible() == offered, name

    @pytest.mark.parametrize("scripts", [True, False])
    def test_tabs_are_moved_between_by_keyboard_with_scripts_and_without(self, browser, served, scripts):
        context = browser.new_context(java_script_enabled=scripts)
        page = context.new_page()
        page.goto(f"{served}book/claims/weak-connectivity.html")
        shown = page.locator(".sd-tab-content:visible")
        assert "lmc run weak-connectivity\n" in shown.inner_text()
        page.locator(".sd-tab-set > input").first.focus()
        page.keyboard.press("ArrowRight")
        assert "lmc run weak-connectivity --profile laptop" in shown.inner_text()
        label = page.locator(".sd-tab-set > input:checked + label")
        assert label.inner_text() == "laptop"
        assert label.evaluate("label => getComputedStyle(label).outlineStyle") != "none"
        context.close()

    @pytest.mark.parametrize(
        ("query", "first"),
        [
            ("barrier", "claims/barrier-and-size"), ("linear mode connectivity", "claims/weak-connectivity"),
            ("chaotic", "guides/is-training-chaotic"),
        ],
    )  # fmt: skip
    def test_the_search_finds_claims_first_and_a_guide_that_asks_the_same(self, page, served, query, first):
        hits = faults.search_hits(page, served, query)
        assert len(hits) >= 5
        assert hits[0] == f"book/{first}.html"
        others = {f"book/claims/{name}.html" for name in claims.load_all()} | {f"book/{first}.html"}
        assert set(hits[:5]) <= others

    def test_the_search_shows_the_verdict_of_a_claim_and_no_code(self, page, served):
        excerpts = faults.search_excerpts(page, served, "chaotic")
        assert excerpts[0].startswith("A system is called chaotic if")
        assert excerpts[1].lstrip(".").startswith("Verdict at laptop scale: mixed")
        for excerpt in [*excerpts, *faults.search_excerpts(page, served, "barrier")]:
            assert not any(each in excerpt for each in (".ipynb", "Contents At", "code cell", "import ", "supported0"))

    def test_the_search_finds_a_function_by_its_name(self, page, served):
        hits = faults.search_hits(page, served, "straight_through")
        assert any(hit.startswith("book/api/") for hit in hits)


SOUND = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>A sound page</title>
<style>
body { background: #fff; color: #222; }
a { color: #00c; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee; } a { color: #9cf; } }
.bd-sidenav { display: none; }
.box { overflow-x: auto; }
.own { overflow: auto; }
td { min-width: 500px; }
figure { margin: 0; }
.highlight pre { white-space: pre-wrap; overflow-wrap: anywhere; overflow: auto; }
</style>
</head>
<body>
<button class="primary-toggle" onclick="document.querySelector('.bd-sidenav').style.display = 'block'">Contents</button>
<div class="bd-sidenav"><a href="page.html">This page</a></div>
<div class="column">
<h1 id="top">A sound page</h1>
<p>Text with <a href="#top">a link</a> and a formula <span class="math"><mjx-container>x</mjx-container></span>.</p>
<p>Code such as <code>\\(x\\)</code> is shown as it is.</p>
<div class="verdict">Supported</div>
<img src="square.svg" alt="A square">
<figure><div class="own" role="region" aria-label="Black" tabindex="0"><img src="square.svg" alt="Black"></div></figure>
<div class="highlight"><pre>line = of_code</pre></div>
<div class="box"><table><tr><td>1</td><td>2</td></tr></table></div>
</div>
</body>
</html>
"""
SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><rect width="40" height="40"/></svg>'


class TestChecks:
    """A sound page has no fault, and each fault is found where it is put in."""

    @pytest.fixture
    def found(self, page, tmp_path):
        """Visits the sound page with one text replaced; gives the kinds of its faults with their descriptions."""

        def visited(old, new, *, judged=True, **options):
            assert old in SOUND
            (tmp_path / "page.html").write_text(SOUND.replace(old, new))
            (tmp_path / "square.svg").write_text(SQUARE)
            with faults.served(tmp_path) as address:
                heard = faults.listen(page, address)
                found = visit(page, f"{address}page.html", set(), judged=judged, **options)
            return {kind: told for kind, told in {**found, "heard": heard}.items() if told}

        return visited

    def test_a_sound_page_has_no_fault(self, found):
        assert found("1", "1", scroll=False) == {}

    @pytest.mark.parametrize(
        ("kind", "old", "new", "told"),
        [
            ("heard", "</body>", "<script>console.warn('strange')</script>", "console: warning: strange"),
            ("heard", "</body>", "<script>missing()</script>", "console: missing is not defined"),
            ("heard", "</head>", "<link rel=stylesheet href=lost.css>", "lost.css: 404"),
            (
                "heard",
                "</body>",
                "<script src=https://example.org/a.js></script>",
                "another server: https://example.org",
            ),
            ("image", "square.svg", "page.html", "page.html: not loaded"),
            ("mathematics", "<mjx-container>x</mjx-container>", "x", "<span.math> x: not set"),
            ("mathematics", "<mjx-container>x<", "<mjx-container><mjx-merror>x</mjx-merror><", "not understood"),
            ("mathematics", "<code>\\(x\\)</code>", "<em>\\(x\\)</em>", r"<em> \(x\): raw TeX"),
            ("contrast", "color: #222", "color: #999", "light: color-contrast: p"),
            ("contrast", "color: #eee", "color: #666", "dark: color-contrast: p"),
            ("contrast", "a { color: #00c", "a { color: #9cf", 'light: color-contrast: a[href$="#top"]'),
            ("name", ">a link<", "><", 'link-name: a[href$="#top"]'),
            ("name", ">Contents<", "><", "button-name: button: "),
            ("name", "<p>Code", "<p id=top>Code", "same id attribute: top"),
            ("name", 'alt="A square"', "title", "image-alt: img"),
            ("sideways", "<p>Code", "<p id=far style='width: 420px'>Code", "390 px: <html> scrolls from 390 to 428 px"),
            ("sideways", "<p>Code", "<p id=far style='width: 420px'>Code", "because of <p#far> Code such as"),
            ("sideways", "<p>Code", "<p style='width: 1300px'>Code", "1280 px: <html> scrolls from 1280 to 1308 px"),
            ("sideways", 'id="top"', "style='width: 420px'", "because of <h1> A sound page"),
            (
                "sideways",
                ".bd-sidenav {",
                ".column { overflow-x: auto; } h1 { width: 420px; }\n.bd-sidenav {",
                "<div.column>",
            ),
            ("table", "overflow-x: auto", "overflow-x: hidden", "390 px: <table> 12: 636 px are cut off"),
            ("code", "pre-wrap; overflow-wrap: anywhere", "pre; max-width: 80px", "are cut off"),
            ("figure", "<figure><div", "<style>figure img { width: 20px; }</style><figure><div", "1280 px: http"),
            ("figure", "<figure><div", "<style>figure img { width: 20px; }</style><figure><div", "shrunk to 50 %"),
            (
                "figure",
                "<figure><div",
                "<style>figure img { width: 1300px; }</style><figure><div",
                "must be scrolled to",
            ),
            ("figure", 'class="own" role', "role", "390 px: <div> : does not scroll"),
            ("figure", 'tabindex="0"', "", "cannot be reached by keyboard"),
            ("figure", 'role="region"', "", "a region without a name"),
            ("figure", 'aria-label="Black"', "", "a region without a name"),
            ("verdict", 'class="verdict"', "", "there is no verdict"),
            ("verdict", '<div class="verdict">', '<div class="verdict" style="height: 950px">', "not within 900"),
            ("contents", 'class="primary-toggle"', "", "no button"),
            ("contents", " = 'block'", " = 'none'", "no link of the contents can be reached"),
            ("contents", ".bd-sidenav { display: none; }", "", "open before"),
        ],
    )
    def test_finds_a_fault_that_is_put_in(self, found, kind, old, new, told):
        faulty = found(old, new)
        assert told in "\n".join(faulty.pop(kind))
        assert faulty == {}

    def test_what_goes_on_below_its_line_of_code_stands_further_in(self, page):
        static = Path(__file__).parents[1] / "book" / "_static"
        lines = ["def f(first, second, third):", "", "    return g(first, second, third)"]
        code = f"<pre>{lines[0]}\n\n<b>{lines[2]}</b>\n</pre>"
        script, style = ((static / f"pages.{kind}").read_text() for kind in ("js", "css"))
        box = f"<div class=bd-article style='width: 10em'><div class=cell_input><div class=highlight>{code}"
        page.set_content(f"<style>{style}</style><script>{script}</script>{box}")
        assert page.evaluate("document.querySelector('pre').textContent") == "\n".join(lines) + "\n"
        places = page.evaluate(
            """() => [...document.querySelectorAll("pre span")].map(line => {
              const range = document.createRange();
              range.selectNodeContents(line);
              const found = {};
              for (const {top, left, width} of range.getClientRects())
                if (width) found[top] = Math.min(left, found[top] ?? left);
              return Object.entries(found).sort(([one], [other]) => one - other).map(([, left]) => Math.round(left));
            })"""
        )
        (start, further), _, (*_, innermost) = places
        assert further > start
        assert innermost > further

    def test_a_table_may_scroll_or_not(self, page):
        page.set_viewport_size(WIDE)
        page.set_content("<div style='overflow: auto'><table><tr><td style='min-width: 1400px'>1</table></div>")
        assert faults.table_faults(page, may_scroll=True) == []
        (told,) = faults.table_faults(page, may_scroll=False)
        assert re.fullmatch(r"<table> 1: 1\d\d px must be scrolled to", told)

    def test_a_table_that_stands_out_of_its_box_is_found_where_the_page_is_wide_enough(self, page):
        page.set_viewport_size(WIDE)
        page.set_content("<div style='width: 300px'><table><tr><td style='min-width: 400px'>1</table></div>")
        (told,) = faults.table_faults(page, may_scroll=True)
        assert re.fullmatch(r"<table> 1: 1\d\d px stand out of its box", told)
        assert faults.sideways_faults(page) == []

    def test_each_look_of_text_is_measured(self, page):
        """Alike are the first two paragraphs only; the others stand on another ground, or are larger or half there."""
        pale = [("", ""), ("", ""), ("background: #eee", ""), ("", "font-size: 20px"), ("opacity: 0.5", "")]
        text = "<p class=p{} style='color: #999; {}'>pale</p>"
        boxes = [f"<div style='{box}'>{text.format(n, own)}</div>" for n, (box, own) in enumerate(pale)]
        page.set_content("<body style='background: #fff'><p>sound</p>" + "".join(boxes))
        known = set()
        assert [told.split(": ")[1] for told in faults.contrast_faults(page, known)] == [".p0", ".p2", ".p3", ".p4"]
        assert len(known) == 5
        assert faults.contrast_faults(page, known) == []

    def test_a_link_without_its_file_or_place_is_found(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a b.csv").write_text("1")
        (tmp_path / "index.html").write_text(
            "<h1 id=top>One</h1><a name=old></a><a href='#old'>1</a><a href=two.html#part>2</a><a href='https://a.b/c'>3</a>"
            "<a href='data/a%20b.csv?v=1'>4</a><a href='#here'>5</a><a href='lost.csv'>6</a><a href=two.html#top>7</a>"
            "<a href=/two.html>8</a><a href=../index.html>9</a><img src=lost.png>"
        )
        (tmp_path / "two.html").write_text(
            "<p id=part><a href='index.html#top'>1</a><a href='data/'>2</a><a href='.'>3</a>"
        )
        assert faults.link_faults(tmp_path) == [
            "index.html: #here: no such place in index.html",
            "index.html: lost.csv: no such file in the site",
            "index.html: two.html#top: no such place in two.html",
            "index.html: /two.html: no such file in the site",
            "index.html: ../index.html: no such file in the site",
            "index.html: lost.png: no such file in the site",
            "two.html: data/: no such file in the site",
        ]

    def test_a_row_that_leads_to_no_page_is_found(self, page, tmp_path):
        (tmp_path / "claims").mkdir()
        (tmp_path / "claims" / "one.html").write_text("<h1>One</h1>")
        rows = "".join(
            f"<tr><th><a href={target}>{title}</a></th></tr>"
            for title, target in (("One", "claims/one.html"), ("Two", "two.ipynb"))
        )
        (tmp_path / "index.html").write_text(f"<table class=claims>{rows}</table>")
        with faults.served(tmp_path) as address:
            landed = faults.follow_claims(page, f"{address}index.html")
        assert landed == {"One": ("claims/one.html", 200), "Two": ("two.ipynb", 404)}

    def test_what_a_page_loads_is_counted_packed_and_once(self, page, tmp_path):
        for name in ("a.js", "b.png", "unused.js"):
            (tmp_path / name).write_bytes(b" " * 50_000)
        (tmp_path / "index.html").write_text("<script src=a.js></script><script src=a.js></script><img src=b.png>")
        with faults.served(tmp_path) as address:
            assert 50_000 < faults.loaded_bytes(page, f"{address}index.html", tmp_path) < 51_000

    def test_a_site_that_is_too_large_names_its_five_largest_files(self, tmp_path):
        for number in range(1, 8):
            (tmp_path / f"{number}.csv").write_bytes(bytes(100_000 * number))
        assert faults.size_faults(tmp_path, 2.81) == []
        (told,) = faults.size_faults(tmp_path, 2.7)
        assert told == "2.8 MB, at most 2.7: 7.csv 0.7 MB, 6.csv 0.6 MB, 5.csv 0.5 MB, 4.csv 0.4 MB, 3.csv 0.3 MB"


class TestTableOfClaims:
    """The table of the first page and its filter, with as many claims as the book may have one day."""

    @pytest.fixture(scope="class")
    @classmethod
    def served(cls, tmp_path_factory):
        """The address of a page with the table alone, styled and scripted as in the book."""
        folder = tmp_path_factory.mktemp("table")
        for name in ("first_page.css", "first_page.js"):
            shutil.copy(STATIC / name, folder)
        (html,) = re.findall(r"```{raw} html\n(.*)```\n", first_page.table(forty_five(), PAPERS), re.DOTALL)
        head = "<meta charset=utf-8><link rel=stylesheet href=first_page.css><script src=first_page.js></script>"
        style = "<style>:root { --pst-color-border: #ccc; } body { font: 16px/1.6 sans-serif; }</style>"
        (folder / "index.html").write_text(f"<!doctype html><title>Claims</title>{head}{style}<h1>Claims</h1>{html}")
        with faults.served(folder) as address:
            yield f"{address}index.html"

    def told(self, page):
        """What the filter says it shows, which must be what it shows."""
        rows = page.locator("tr[data-verdict]:visible").count()
        more = "" if rows else ": none fits all choices"
        assert page.get_by_role("status").inner_text() == f"{rows} of 45 claims{more}"
        return rows, page.locator(".chapter:visible").all_inner_texts()

    def test_shows_all_without_a_script(self, browser, served):
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(served)
        assert not page.locator("form").is_visible()
        assert page.locator("tr[data-verdict]:visible").count() == 45
        context.close()

    def test_filters_by_keyboard_and_keeps_the_choice_in_the_address(self, page, served):
        page.goto(served)
        assert self.told(page) == (45, list(CHAPTERS))
        page.get_by_label("Part of the book").focus()
        for _ in range(1 + list(CHAPTERS).index("The butterfly effect")):
            page.keyboard.press("ArrowDown")
        rows, shown = self.told(page)
        assert shown == ["The butterfly effect"]
        assert page.url == f"{served}?part=The+butterfly+effect"
        page.get_by_label("Verdict").select_option("supported")
        fewer, _ = self.told(page)
        assert 0 < fewer < rows
        page.reload()
        assert self.told(page) == (fewer, shown)
        assert page.get_by_label("Verdict").input_value() == "supported"
        page.go_back()
        expect(page.get_by_role("status")).to_have_text(f"{rows} of 45 claims")
        assert self.told(page) == (rows, shown)
        page.get_by_role("button", name="Show all").press("Enter")
        assert self.told(page)[0] == 45
        assert page.url == served

    def test_a_choice_can_be_linked(self, page, served):
        page.goto(f"{served}?paper=kwok2024&verdict=mixed&other=1#top")
        rows, shown = self.told(page)
        assert shown == ["Example difficulty"]
        wanted = "tr[data-paper=kwok2024][data-verdict*=mixed]"
        assert rows == page.locator(wanted).count() > 0
        page.get_by_label("Paper").select_option("all")
        assert page.url == f"{served}?verdict=mixed&other=1#top"

    def test_an_address_with_a_choice_that_is_no_more_shows_all(self, page, served):
        page.goto(f"{served}?verdict=perhaps")
        assert self.told(page)[0] == 45
        assert page.get_by_label("Verdict").input_value() == ""

    def test_a_choice_that_nothing_fits_says_so(self, page, served):
        page.goto(f"{served}?part=Example+difficulty&paper=altintas2025")
        assert self.told(page) == (0, [])

    @pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
    def test_fits_its_page_and_stays_a_table(self, page, served, size):
        page.set_viewport_size(size)
        page.goto(served)
        assert faults.sideways_faults(page) == []
        assert faults.table_faults(page, may_scroll=False) == []
        assert faults.name_faults(page) == []
        table = page.get_by_role("table")
        assert table.get_by_role("rowheader").count() == 45 + len(CHAPTERS)
        assert table.get_by_role("columnheader").count() == 4
        cell = page.locator("tr[data-verdict] td").first
        label = cell.evaluate("cell => getComputedStyle(cell, '::before').content")
        assert label == ("none" if size is WIDE else '"Verdict, scope, status"')


class TestPathsInSpace:
    """Paths that a reader can turn."""

    @pytest.fixture
    def view(self, page):
        paths = {"a": np.array([[[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [3.0, 0.0, 1.0]]]), "b": np.ones((2, 3, 3))}
        page.set_content(plotting.paths_in_space(paths, name="view", description="Two paths"))
        return page

    def places(self, view):
        return view.locator("polyline").first.get_attribute("points")

    def test_draw_each_network_and_the_mean(self, view):
        assert view.locator("polyline").count() == 1 + 1 + 2 + 1
        assert view.locator("text").all_text_contents() == ["inputs", "labels"]
        expect(view.get_by_role("img", name="Two paths")).to_be_visible()

    @pytest.mark.parametrize("slider", ["turn", "tilt"])
    def test_turn_by_keyboard(self, view, slider):
        before = self.places(view)
        view.get_by_label(slider).press("ArrowRight")
        assert self.places(view) != before
        view.get_by_label(slider).press("ArrowLeft")
        assert self.places(view) == before

    def test_turn_with_the_pointer_while_it_is_down(self, view):
        before = self.places(view)
        view.mouse.move(100, 100)
        view.mouse.move(120, 110)
        assert self.places(view) == before
        view.mouse.down()
        view.mouse.move(160, 130)
        view.mouse.up()
        after = self.places(view)
        assert after != before
        view.mouse.move(100, 100)
        assert self.places(view) == after

    def test_seen_from_above_the_first_two_coordinates_stand(self, view):
        for slider, value in {"turn": "0", "tilt": "90"}.items():
            view.get_by_label(slider).fill(value)
        x, y = zip(*self.pairs(view), strict=True)
        # The first path has the coordinates (0, 0), (1, 2), (3, 0) there, up to a shift and a scale; down is positive.
        scale = (x[2] - x[0]) / 3.0
        assert [round((each - x[0]) / scale, 2) for each in x] == [0.0, 1.0, 3.0]
        assert [round((each - y[0]) / scale, 2) for each in y] == [0.0, 2.0, 0.0]

    def pairs(self, view):
        numbers = [float(each) for each in re.split("[ ,]", self.places(view))]
        return zip(numbers[::2], numbers[1::2], strict=True)


class TestBrowser:
    """Without a browser the tests say what to install; continuous integration may not do without."""

    @pytest.mark.parametrize(("setting", "stop"), [("", pytest.skip), ("true", pytest.fail)])
    def test_says_what_to_install(self, monkeypatch, setting, stop):
        monkeypatch.setattr(shutil, "which", lambda name: None)
        monkeypatch.setenv("CI", setting)
        with pytest.raises(stop.Exception, match="apt-get install chromium"):
            find_browser()
