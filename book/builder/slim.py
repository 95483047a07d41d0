"""What a site can go without: files that no page uses, marks that no reader sees, and what a notebook makes anew."""

__all__ = ["notebook", "page", "search_index", "site"]

import copy
import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path

import nbformat

from builder import pictures
from builder.layout import place

# Maps for those who mend scripts; fonts for browsers older than WOFF2; all icons of Font Awesome as drawings, half of
# what a page would load, since the style sheet has them in a font; and translations, which are for the build.
_NEEDLESS = ("*.map", "fa-*.ttf", "fontawesome.js", "locales/**/*.*")
# Signs of firms, which a page has where the address of a repository is set.
_SIGNS, _WITH_SIGNS = "fa-brands-*", re.compile(r'class="[^"]*\b(?:fa-brands|fab)\b')

# The rule of an icon in the style sheet, which has one for each of two thousand.
_ICON = re.compile(r"(?:\.fa-[a-z0-9-]+:before,?)+\{content:[^}]*\}")
_ICON_NAME = re.compile(r"\bfa-[a-z0-9-]+")
# Alphabets of formulas, by the commands that ask for them.
_ALPHABETS = {
    "Fraktur": "mathfrak",
    "SansSerif": "(?:math|text)sf",
    "Script": "mathscr",
    "Typewriter": "(?:math|text)tt",
}

# Of each page: scripts and a place for services that it does not use, what is loaded before it is asked for, comments.
_UNUSED = re.compile(
    r'<script src="[^"]*/fontawesome\.js[^"]*"></script>'
    r'|<script type="text/x-thebe-config">.*?</script>\s*<script>kernelName[^<]*</script>'
    r'|<link rel="preload"[^>]*>|<link [^>]*thebe\.css[^>]*>|<div id="ethical-ad-placement"[^>]*>\s*</div>|<!--.*?-->',
    re.DOTALL,
)
# Of a page of the reference: folded boxes, tabs, cells and the table of claims, which it does not have; the name of an
# object beside a link that says it; that a sign beside each of them is a link; and links to the modules before and
# after it by the alphabet.
_OF_OTHER_PAGES = re.compile(
    r"<script>(?:let toggle|var togglebutton)[^<]*</script>"
    r"|<script [^>]*/(?:togglebutton|design-tabs|first_page|pages)\.js[^>]*></script>"
    r"|<link [^>]*/(?:togglebutton|mystnb\.\w+|first_page|pages)\.css[^>]*>"
    r'|(?<=") title="(?:lmc_lib\.[^"]*|Link to this (?:definition|heading))"'
    r'|<footer class="prev-next-footer.*?</footer>',
    re.DOTALL,
)
_PRINTED = re.compile(r'<div id="jb-print-toc">.*?</nav>\s*</div>', re.DOTALL)
_NAVIGATION = re.compile(r"<nav\b.*?</nav>", re.DOTALL)
# Of links in the contents: what kind of link it is, and of a page at the first level that it is; no style asks for it.
_KIND = re.compile(
    r'(?<=<li) class="toctree-l1"(?=><a)|(?<=<a) class="reference internal"|(?<=<a class=")reference internal '
)
_CONTENTS = re.compile(r'<nav class="bd-links.*?</nav>', re.DOTALL)
_PART = re.compile(r'(?=<p aria-level="2" class="caption")')
_END = "</ul>"
_MODULE = re.compile(r'<li class="toctree-l[34]">(?:(?!</li>).)*</li>\n?', re.DOTALL)
_WITHIN = re.compile(r'<li class="toctree-l[34] current')
# Names, punctuation and space between them have the colour of all text.
_PLAIN = re.compile(r'<span class="[npw]">([^<]*)</span>|<span></span>')
_HIGHLIGHTED = re.compile(r'<div class="highlight">.*?</pre>', re.DOTALL)
# Each word of code is marked once more within it, so that it is not broken.
_WORD = re.compile(r'<span class="pre">([^<]*)</span>')
# In the signature of an object it is also marked by what it is, which the theme does not show of names, punctuation and
# space. The marks inside come first.
_SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
_NOT_SHOWN = [re.compile(rf'<span class="{kind}">([^<]*)</span>') for kind in ("[pw]", "n")]
_CODE = re.compile(r'<code class="[^"]*"><span class="pre">(.*?)</span></code>')
# The paragraph that is all of a cell of a table.
_IN_CELL = re.compile(r"(<t[dh]\b[^>]*>)<p>((?:(?!</?(?:p|t[dh])\b).)*)</p>(?=</t[dh]>)", re.DOTALL)
# That a link leads to a page of the book; no style asks for it.
_TO_PAGE = re.compile(r'<span class="std std-doc">([^<]*)</span>(?=</a>)')
# Which of its neighbours a row of a table resembles: the theme counts them itself.
_ROW = re.compile(r'(?<=<tr) class="row-(?:odd|even)"')
_PICTURE = re.compile(r'(<img [^>]*src="[^"]*_images/[^"/]*)\.png"')
_SEARCH = "Search.setIndex("
_KEPT_AS_IT_IS = re.compile(r"(<(?P<name>pre|textarea|script|style)\b.*?</(?P=name)>)", re.DOTALL)


def site(folder: Path) -> None:
    """Makes a built site smaller by a quarter, its pictures WebP; a second time changes nothing."""
    for path in (path for kind in _NEEDLESS for path in folder.rglob(kind) if path.is_file()):
        path.unlink()
    pages = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    for path in () if any(map(_WITH_SIGNS.search, pages.values())) else folder.rglob(_SIGNS):
        path.unlink()
    _without_icons(folder, pages.values())
    _without_alphabets(folder, pages.values())
    for path, html in pages.items():
        place(path, page(html, reference="api" in path.parts).encode())
    for path in folder.glob("searchindex.js"):
        place(path, search_index(path.read_text(encoding="utf-8")).encode())
    for path in (folder / "_images").glob("*.png"):
        place(path.with_suffix(".webp"), pictures.as_webp(path.read_bytes()))
        path.unlink()
    for path in (folder / "_sources").rglob("*.ipynb"):
        place(path, nbformat.writes(notebook(nbformat.read(path, as_version=4)), indent=None).encode())


def _without_icons(folder: Path, pages: Iterable[str]) -> None:
    """Takes from style sheets the icons that no page and no script shows."""
    scripts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.js"))
    shown = {name for text in (*pages, *scripts) for name in _ICON_NAME.findall(text)}
    for path in folder.rglob("*.css"):
        style = path.read_text(encoding="utf-8")
        small = _ICON.sub(lambda rule: rule[0] if shown.intersection(_ICON_NAME.findall(rule[0])) else "", style)
        if small != style:
            place(path, small.encode())


def _without_alphabets(folder: Path, pages: Collection[str]) -> None:
    """Removes the alphabets of formulas that no page asks for."""
    for alphabet, command in _ALPHABETS.items():
        if not any(re.search(command, html) for html in pages):
            for path in folder.rglob(f"MathJax_{alphabet}-*.woff"):
                path.unlink()


def page(html: str, *, reference: bool = False) -> str:
    """A page without what it does not use, without indentation, comments, and marks that change nothing that one sees.

    In the contents code looks like other words (``lmc.css``), and a page of the reference has a hundred such marks. Its
    contents at the side are those of its own part of the book, without the modules beside its own, which the page of
    their package lists: all claims and modules on each of them took two megabytes.

    Args:
        html: the page.
        reference: whether it is a page of the reference, which has no second contents for print either.
    """
    html = _NAVIGATION.sub(lambda found: _KIND.sub("", _CODE.sub(r"\1", found[0])), _UNUSED.sub("", html))
    if reference:
        html = _CONTENTS.sub(_own_part, _PRINTED.sub("", _OF_OTHER_PAGES.sub("", html)))
        html = _SIGNATURE.sub(lambda found: _plain(found[0]), _WORD.sub(r"\1", html))
    html = _HIGHLIGHTED.sub(lambda found: _PLAIN.sub(r"\1", found[0]), html)
    html = _PICTURE.sub(r'\1.webp"', _IN_CELL.sub(r"\1\2", _TO_PAGE.sub(r"\1", _ROW.sub("", html))))
    between = _KEPT_AS_IT_IS.split(html)
    # Of each three parts the first is text between elements whose white space counts, the last the name of such a one.
    return "".join(
        re.sub(r"\s*\n\s*", "\n", each) if n % 3 == 0 else each * (n % 3 == 1) for n, each in enumerate(between)
    )


def search_index(script: str) -> str:
    """The index of the search without the entries of a printed index, which are the objects of the reference again."""
    index = json.loads(script.removeprefix(_SEARCH).removesuffix(")"))
    return f"{_SEARCH}{json.dumps(index | {'indexentries': {}}, separators=(',', ':'))})"


def _plain(signature: str) -> str:
    """The signature of an object without the marks that no one sees."""
    for mark in _NOT_SHOWN:
        signature = mark.sub(r"\1", signature)
    return signature


def _own_part(contents: re.Match[str]) -> str:
    """The contents without the parts of the book that the page is not in."""
    before, *parts = _PART.split(contents[0])
    own = [part[: part.rindex(_END) + len(_END)] for part in parts if "current" in part]
    own = [_MODULE.sub("", part) if _WITHIN.search(part) else part for part in own]
    _, _, after = contents[0].rpartition(_END)
    return "".join([before, *own, after]) if own else contents[0]


def notebook(executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook as it is offered: what it shows stands on its page, and is made anew when it is run."""
    offered = copy.deepcopy(executed)
    for cell in offered.cells:
        for ours in ("papermill", "mystnb"):
            cell.metadata.pop(ours, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return offered
