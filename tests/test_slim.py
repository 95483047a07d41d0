"""What is done to a built site: it goes without what no reader sees, and its contents tell verdicts; twice is once."""

import nbformat
import pytest
from PIL import Image

from builder import navigation, slim

PAGE = """<head>
  <script src="../_static/scripts/fontawesome.js?digest=88"></script>
  <script src="../_static/scripts/bootstrap.js"></script>
</head>
<body>
  <nav class="bd-links">
    <a href="a.html"><code class="xref py"><span class="pre">lmc_lib.a</span></code></a>
  </nav>
  <p>A
     line of <code class="docutils"><span class="pre">code</span></code>, and <a href="b.html">one</a>
     <em>more</em>.</p>
  <div class="highlight"><pre>def f():

    return 1
</pre></div>
  <textarea>
   as written
  </textarea>
  <script type="text/x-thebe-config">
  { requestKernel: true }
  </script>
  <script>kernelName = 'python3'</script>
  <script>
    one();

    two();
  </script>
</body>
"""


def test_a_page_keeps_its_words_its_code_and_its_scripts():
    assert slim.page(PAGE) == (
        '<head>\n<script src="../_static/scripts/bootstrap.js"></script>\n</head>\n<body>\n<nav class="bd-links">\n'
        '<a href="a.html">lmc_lib.a</a>\n</nav>\n<p>A\nline of <code class="docutils"><span class="pre">code</span>'
        '</code>, and <a href="b.html">one</a>\n<em>more</em>.</p>\n'
        '<div class="highlight"><pre>def f():\n\n    return 1\n</pre></div>\n'
        "<textarea>\n   as written\n  </textarea>\n<script>\n    one();\n\n    two();\n  </script>\n</body>\n"
    )
    assert slim.page(slim.page(PAGE)) == slim.page(PAGE)


def test_a_cell_of_a_table_that_is_one_paragraph_needs_no_mark_of_it():
    two = "<td><p>one</p><p>two</p></td>"
    page = f'<tr class="odd"><th class="head"><p>A <em>word</em></p></th><td><p>7</p></td>{two}</tr><p>Text</p>'
    small = f'<tr class="odd"><th class="head">A <em>word</em></th><td>7</td>{two}</tr><p>Text</p>'
    assert slim.page(page) == small
    assert slim.page(small) == small


def test_links_in_the_contents_do_not_say_what_kind_of_link_they_are():
    link = '<li class="toctree-l1{}"><a class="{}reference internal{}" href="a.html">A</a></li>'
    entry = '<li class="toc-h2"><a class="reference internal nav-link" href="#b">B</a></li>'
    text = '<p><a class="reference internal" href="c.html">C</a></p>'
    page = f"<nav>{link.format('', '', '')}{link.format(' current', 'current ', '')}{entry}</nav>{text}"
    small = page.replace(link.format("", "", ""), '<li><a href="a.html">A</a></li>')
    small = small.replace("reference internal nav-link", "nav-link")
    assert slim.page(page) == small
    assert slim.page(small) == small


def test_the_contents_for_print_may_go():
    contents = "<nav><ul><li>One</li></ul></nav>"
    second = f'<div id="jb-print-toc"><div><h2>Contents</h2></div>{contents}</div>'
    page = f"<h1>One</h1><div>{second}</div><p>Text</p>{contents}"
    assert slim.page(page) == page
    assert slim.page(page, reference=True) == page.replace(second, "")


def test_contents_of_the_reference_are_those_of_its_part():
    home = '<ul class="nav"><li><a href="i.html">Home</a></li></ul>'
    claims = '<p aria-level="2" class="caption">Claims</p><ul><li>One<ul><li>quick</li></ul></li><li>Two</li></ul>'
    use = '<p aria-level="2" class="caption">How to</p><ul><li class="current">Reference<ul><li>a</li></ul></li></ul>'
    more = '<p aria-level="2" class="caption">More</p><ul><li>Three</li></ul>'
    page = f'<nav class="bd-links" aria-label="Main"><div>{home}{claims}{use}{more}</div></nav><p>Text</p>'
    small = f'<nav class="bd-links" aria-label="Main"><div>{home}{use}</div></nav><p>Text</p>'
    assert slim.page(page) == page
    assert slim.page(page, reference=True) == small
    assert slim.page(small, reference=True) == small
    # A page that no part names keeps them all.
    lost = page.replace("current", "other")
    assert slim.page(lost, reference=True) == lost


def test_a_page_of_a_module_lists_its_package_without_the_modules_beside_it():
    def item(level, name, more="", inner=""):
        return f'<li class="toctree-l{level}{more}"><a href="{name}">{name}</a>{inner}</li>'

    def contents(*modules):
        packages = item(2, "a") + item(2, "b", " current", f'<ul class="current">{"".join(modules)}</ul>')
        caption = '<p aria-level="2" class="caption">Use</p>'
        return f'<nav class="bd-links">{caption}<ul class="current">{packages}</ul></nav>'

    here, beside, deep = item(3, "b.x", " current active"), item(3, "b.y"), item(4, "b.y.z")
    assert slim.page(contents(beside, here, deep), reference=True) == contents(here)
    # The page of the package itself lists them all.
    assert slim.page(contents(beside, deep), reference=True) == contents(beside, deep)


def test_code_keeps_the_marks_that_have_a_colour_of_their_own():
    marked = '<span class="n">x</span><span class="w"> </span><span class="o">=</span><span class="p">(</span>'
    code = f'<div class="highlight"><pre><span></span>{marked}</pre></div>'
    small = '<div class="highlight"><pre>x <span class="o">=</span>(</pre></div>'
    assert slim.page(code) == small
    assert slim.page(small) == small
    assert slim.page(f"<p>{marked}</p>") == f"<p>{marked}</p>"


def test_a_signature_keeps_the_marks_that_the_theme_shows():
    def pre(word):
        return f'<span class="pre">{word}</span>'

    marked = (
        f'<dt class="sig py" id="f"><em class="sig-param"><span class="n">{pre("x")}</span><span class="p">{pre(":")}'
        f'</span><span class="w"> </span><span class="n">{pre("list")}<span class="p">{pre("[")}</span>{pre("int")}'
        f'<span class="p">{pre("]")}</span></span><span class="o">{pre("=")}</span>'
        f'<span class="default_value">{pre("7")}</span></em></dt>'
    )
    shown = '<em class="sig-param">x: list[int]<span class="o">=</span><span class="default_value">7</span></em>'
    text = f'<dd><code><span class="n">{pre("x")}</span></code></dd>'
    small = f'<dt class="sig py" id="f">{shown}</dt><dd><code><span class="n">x</span></code></dd>'
    assert slim.page(marked + text, reference=True) == small
    assert slim.page(marked + text) == marked + text


def test_contents_of_the_reference_have_no_marks_of_code():
    link = '<a href="b.html"><code class="xref py"><span class="pre">lmc_lib.b</span></code></a>'
    page = f'<nav class="page-toc">{link}</nav><p>{link}</p>'
    assert slim.page(page, reference=True) == (
        '<nav class="page-toc"><a href="b.html">lmc_lib.b</a></nav>'
        '<p><a href="b.html"><code class="xref py">lmc_lib.b</code></a></p>'
    )


def test_pictures_of_a_page_are_webp():
    page = '<img alt="a.png" src="../_images/{0}" /><img src="../_static/{1}" /><a href="../_images/{1}">b.png</a>'
    assert slim.page(page.format("7f.png", "b.png")) == page.format("7f.webp", "b.png")


def test_a_page_of_the_reference_loads_nothing_that_it_lacks():
    own = '<link rel="stylesheet" href="s/lmc.css?v=1" /><script src="s/lmc.js"></script><a href="b" title="b">b</a>'
    link = '<a class="reference internal" href="a.html#lmc_lib.a.f"{}>f</a>'
    others = (
        '<link rel="stylesheet" href="s/mystnb.0f.css" /><link rel="stylesheet" href="s/pages.css?v=2" />'
        '<script>let toggleHintShow = 1;</script><script data-x="y" src="s/design-tabs.js?v=3"></script>'
        '<script src="s/first_page.js"></script>'
    )
    neighbours = '<footer class="prev-next-footer d-print-none">\n<a class="left-prev" href="c">c</a>\n</footer>'
    sign = '<a class="headerlink" href="#f"{}>#</a>'
    page = (
        others + own + link.format(' title="lmc_lib.a.f"') + sign.format(' title="Link to this heading"') + neighbours
    )
    assert slim.page(page) == page
    assert slim.page(page, reference=True) == own + link.format("") + sign.format("")


def test_a_page_has_no_comments_no_place_for_advertisements_and_loads_nothing_twice():
    needless = (
        '<!-- a\nb --><link rel="preload" as="script" href="a.js" />'
        '<div id="ethical-ad-placement"\nclass="flat">\n</div>'
        '<link rel="stylesheet" href="_static/sphinx-thebe.css?v=4" />'
    )
    kept = '<link rel="stylesheet" href="a.css" /><div id="b">\n</div>'
    assert slim.page(needless + kept) == kept


def executed():
    cell = nbformat.v4.new_code_cell(
        "draw()", metadata={"papermill": {"duration": 1.5}, "mystnb": {"image": {"alt": "A"}}, "tags": ["hide-input"]}
    )
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"}),
        nbformat.v4.new_output(
            "execute_result", {"text/html": "<table>", "text/plain": "a b", "application/vnd.lmc.report+json": "{}"}
        ),
        nbformat.v4.new_output("stream", text="said"),
    ]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A title"), cell])


def test_an_offered_notebook_shows_nothing_and_can_be_run():
    before = executed()
    offered = slim.notebook(before)
    nbformat.validate(offered)
    title, cell = offered.cells
    assert (title.source, cell.source) == ("# A title", "draw()")
    assert cell.metadata == {"tags": ["hide-input"]}
    assert (cell.outputs, cell.execution_count) == ([], None)
    assert "papermill" in before.cells[1].metadata
    assert len(before.cells[1].outputs[1].data) == 3


INDEX = 'Search.setIndex({"docnames":["a"],"indexentries":{"f() (in a)":[[0,"a.f",false]]},"terms":{"toy":[0,7]}})'


def test_the_search_knows_pages_and_objects_and_no_printed_index():
    small = 'Search.setIndex({"docnames":["a"],"indexentries":{},"terms":{"toy":[0,7]}})'
    assert slim.search_index(INDEX) == slim.search_index(small) == small


@pytest.fixture
def site(tmp_path):
    files = {
        "book/a.html": PAGE,
        "_sources/book/a.ipynb": nbformat.writes(executed()),
        "_static/scripts/fontawesome.js": "//",
        "_static/scripts/fontawesome.js.map": "{}",
        "_static/scripts/bootstrap.js": "//",
        "_static/fonts/fa-solid-900.ttf": "0",
        "_static/fonts/fa-solid-900.woff2": "2",
        "_static/fonts/fa-brands-400.woff2": "2",
        "_static/locales/de/LC_MESSAGES/booktheme.po": "x",
        "_static/logo.png": "a picture",
        "searchindex.js": INDEX,
    }
    (tmp_path / "_images").mkdir()
    Image.effect_noise((9, 4), 80).save(tmp_path / "_images" / "7f.png")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_site_loses_what_no_page_uses_and_is_then_left_as_it_is(site):
    slim.site(site)
    left = {path.relative_to(site).as_posix(): path for path in site.rglob("*.*") if path.is_file()}
    assert set(left) == {
        "book/a.html", "_sources/book/a.ipynb", "_static/scripts/bootstrap.js", "_static/fonts/fa-solid-900.woff2",
        "_static/logo.png", "_images/7f.webp", "searchindex.js",
    }  # fmt: skip
    assert left["book/a.html"].read_text() == slim.page(PAGE)
    assert "papermill" not in left["_sources/book/a.ipynb"].read_text()
    before = {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in left.items()}
    slim.site(site)
    assert before == {name: (path.stat().st_mtime_ns, path.read_bytes()) for name, path in left.items()}


def test_signs_of_firms_stay_where_a_page_has_one(site):
    (site / "book" / "b.html").write_text('<i class="fa-brands fa-github"></i>')
    slim.site(site)
    assert (site / "_static" / "fonts" / "fa-brands-400.woff2").exists()


def test_icons_and_alphabets_stay_that_a_page_or_a_script_shows(site):
    rules = {
        "fa-sun": '.fa-sun:before{content:"\\f185"}',
        "fa-rocket": '.fa-rocket:before{content:"\\f135"}',
        "fa-bars fa-navicon": '.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}',
    }
    rest = ".fa-lg{font-size:1.25em}.sun:before{content:none}"
    style, script = site / "_static" / "theme.css", site / "_static" / "scripts" / "shows.js"
    style.write_text(rest + "".join(rules.values()))
    (site / "book" / "b.html").write_text(r'<i class="fa-solid fa-lg fa-navicon"></i> \(\mathsf{x}\)')
    script.write_text('icon.className = "fa-sun";')
    fonts = [site / "_static" / f"MathJax_{name}-Bold.woff" for name in ("SansSerif", "Fraktur", "Main")]
    for path in fonts:
        path.touch()
    slim.site(site)
    assert style.read_text() == rest + rules["fa-sun"] + rules["fa-bars fa-navicon"]
    assert [path.exists() for path in fonts] == [True, False, True]


CONTENTS = """<nav class="bd-links bd-docs-nav">
<a class="reference internal" href="../claims/toy.html">Toys fall</a>
<a class="current reference internal" href="#">Balls fall</a>
<a class="reference internal" href="rings.html">Rings fall</a>
<a class="reference internal" href="balls-quick.html">Balls fall (quick scale)</a>
<a class="reference internal" href="../methods.html">Methods</a>
</nav>
<p><a class="reference internal" href="../claims/toy.html">Toys fall</a></p>
"""


def test_contents_tell_the_verdict_of_each_claim():
    verdicts = {"toy": "not seen at this scale", "balls": "mixed", "rings": "inconclusive"}
    told = navigation.with_verdicts(CONTENTS, "balls", verdicts)
    assert told == CONTENTS.replace("Toys fall</a>\n", "Toys fall <small>not seen at this scale</small></a>\n").replace(
        "Balls fall</a>", "Balls fall <small>mixed</small></a>"
    ).replace("Rings fall", "Rings fall <small>inconclusive</small>")
    assert navigation.with_verdicts(told, "balls", verdicts) == told
    other = navigation.with_verdicts(told, "balls", verdicts | {"toy": "supported"})
    assert other == told.replace("not seen at this scale", "supported")
    assert navigation.with_verdicts(CONTENTS, "methods", {}) == CONTENTS


def test_all_pages_of_a_site_are_marked(site):
    (site / "book" / "a.html").write_text(CONTENTS)
    navigation.mark(site, {"a": "mixed", "toy": "supported"})
    text = (site / "book" / "a.html").read_text()
    assert "Balls fall <small>mixed</small>" in text
    assert "Toys fall <small>supported</small></a>\n<a" in text


def test_rows_do_not_say_that_every_other_one_is_odd_nor_links_that_they_lead_to_pages():
    link = '<a class="reference internal" href="a.html">{}one <em>page</em>{}</a>'
    row = '<tr{}><td>1</td></tr><tr class="odd"><td>row-odd</td></tr>'
    page = row.format(' class="row-odd"') + row.format(' class="row-even"') + '<p><a href="b.html">{}two{}</a></p>'
    marks = '<span class="std std-doc">', "</span>"
    small = row.format("") + row.format("") + '<p><a href="b.html">two</a></p>'
    assert slim.page(page.format(*marks) + link.format(*marks)) == small + link.format(*marks)
    assert slim.page(small) == small
