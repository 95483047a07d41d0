"""What may be wrong with a site: each function looks for one kind of fault and says where it found it.

Functions of a *site* read its files; functions of a *page* look at what a browser shows of it.
"""

import functools
import gzip
import http.server
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote, urljoin, urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import ConsoleMessage, Page, Request, Response, Route
from playwright.sync_api import TimeoutError as TooLate


class Tags(HTMLParser):
    """The places that a page has, and those that it leads to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.places: set[str] = {""}  # the empty fragment is the top of a page
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag, name) == ("a", "name"):
                self.places.add(value or "")
            elif name in ("href", "src"):
                self.links.append(value or "")


def pages(site: Path) -> list[Path]:
    """The pages of a site; what lies in ``_static`` are templates of the theme."""
    return sorted(path for path in site.rglob("*.html") if not path.is_relative_to(site / "_static"))


def link_faults(site: Path) -> list[str]:
    """Links of the pages of a site, downloads and what they load among them, that lead to no file or place of it."""
    site = site.resolve()
    read = {path: Tags(path.read_text()) for path in pages(site)}
    found = []
    for path, page in read.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue  # another site, or data within the page
            # A site may be served below any address, so what begins with a slash leads astray.
            target = Path(f"{path.parent}/{unquote(parts.path)}").resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if parts.path.startswith("/") or not target.is_relative_to(site) or not target.exists():
                found.append(f"{path.relative_to(site)}: {link}: no such file in the site")
            elif target in read and unquote(parts.fragment) not in read[target].places:
                found.append(f"{path.relative_to(site)}: {link}: no such place in {target.relative_to(site)}")
    return found


def size_faults(site: Path, megabytes: float) -> list[str]:
    """The size of a site and its five largest files, where it is larger than allowed."""
    sizes = {path.relative_to(site).as_posix(): path.stat().st_size / 1e6 for path in site.rglob("*") if path.is_file()}
    total = sum(sizes.values())
    if total <= megabytes:
        return []
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:5]
    return [f"{total:.1f} MB, at most {megabytes:g}: {', '.join(f'{name} {sizes[name]:.1f} MB' for name in largest)}"]


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """Takes it calmly when a browser that goes on to another page hangs up."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serves a folder on this machine, at a free port; gives its address."""
    with Server(("127.0.0.1", 0), functools.partial(Files, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def listen(page: Page, address: str) -> list[str]:
    """A list that fills with what goes wrong while a page is used: warnings, files not found, other servers asked."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        # What the browser says about a file that it does not get is told by the answer to its request.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            found.append(f"console: {message.type}: {message.text}")

    def answer(response: Response) -> None:
        if response.status >= 400:
            found.append(f"request: {response.url}: {response.status}")

    def fail(request: Request) -> None:
        if request.url.startswith(address):
            found.append(f"request: {request.url}: {request.failure}")

    def refuse(route: Route) -> None:
        found.append(f"another server: {route.request.url}")
        route.abort()

    page.on("console", hear)
    page.on("pageerror", lambda error: found.append(f"console: {error}"))
    page.on("response", answer)
    page.on("requestfailed", fail)
    page.route(lambda url: not url.startswith(address), refuse)
    return found


def show(page: Page, scheme: str) -> None:
    """Shows a page as a reader sees it whose system is set to ``light`` or ``dark``, and waits until it is so."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function("scheme => (document.documentElement.dataset.theme ?? scheme) === scheme", arg=scheme)
    page.evaluate("document.getAnimations().forEach(each => each.finish())")


def settle(page: Page) -> None:
    """Waits until a page has its fonts, its images and its mathematics, those below the first screen too."""
    page.evaluate(
        """async () => {
          await window.MathJax?.startup?.promise;
          await document.fonts.ready;
          for (const image of document.images) image.loading = "eager";
          await Promise.allSettled([...document.images].map(image => image.decode()));
        }"""
    )


# How an element is named in a message, and what its style does with what is wider than itself.
_HELP = """
const name = element => {
  const id = element.id && `#${element.id}`;
  const classes = [...element.classList].map(each => `.${each}`).join("");
  return `<${element.localName}${id}${classes}> ${element.textContent.trim().replace(/\\s+/g, " ").slice(0, 60)}`;
};
const right = element => element.getBoundingClientRect().right;
const overflow = element => getComputedStyle(element).overflowX;
const scrolls = element => /auto|scroll/.test(overflow(element));
"""


def sideways_faults(page: Page) -> list[str]:
    """By how much a page, or the column of its text, scrolls sideways, and the element that reaches out farthest."""
    # A theme may let the column scroll in place of the page, which is no better to read.
    return page.evaluate(
        """() => {"""
        + _HELP
        + """
          const columns = [...document.querySelectorAll("body :has(h1)")].filter(scrolls);
          const wide = [document.scrollingElement, ...columns].filter(box => box.scrollWidth > box.clientWidth);
          return wide.map(box => {
            const inside = element => [element, ...(overflow(element) === "visible" ? around(element) : [])];
            const around = element => [...element.children].flatMap(inside);
            const out = around(box).filter(element => right(element) > box.clientWidth);
            // What surrounds the cause is stretched by it, so that the innermost counts.
            const innermost = out.filter(element => !out.some(other => element !== other && element.contains(other)));
            const [cause = box] = innermost.sort((one, other) => right(other) - right(one));
            const what = name(box).split(" ")[0];
            return `${what} scrolls from ${box.clientWidth} to ${box.scrollWidth} px because of ${name(cause)}`;
          });
        }"""
    )


def table_faults(page: Page, *, may_scroll: bool) -> list[str]:
    """Tables wider than their box, unless it scrolls and may; a box that cannot scroll cuts them or lets them out."""
    return page.evaluate(
        """mayScroll => {"""
        + _HELP
        + """
          const found = [];
          for (const table of document.querySelectorAll("table")) {
            if (!table.checkVisibility()) continue;  // within what is folded
            let box = table;
            while (box !== document.body && overflow(box) === "visible") box = box.parentElement;
            // The column of the text is no box of a table.
            const own = box !== document.body && !box.querySelector("h1");
            const hidden = own ? box.scrollWidth - box.clientWidth : right(table) - right(table.parentElement);
            if (hidden <= 1 || (own && scrolls(box) && mayScroll)) continue;
            const how = !own ? "stand out of its box" : scrolls(box) ? "must be scrolled to" : "are cut off";
            found.push(`${name(table)}: ${Math.round(hidden)} px ${how}`);
          }
          return found;
        }""",
        may_scroll,
    )


def image_faults(page: Page) -> list[str]:
    """Images that have not loaded."""
    return page.evaluate(
        "() => [...document.images].filter(image => !image.naturalWidth).map(image => `${image.src}: not loaded`)"
    )


def code_faults(page: Page) -> list[str]:
    """Code that is shown and reaches out of its box, so that its lines are cut or must be scrolled to."""
    return page.evaluate(
        """() => {"""
        + _HELP
        + """
          const shown = [...document.querySelectorAll(".highlight pre")].filter(code => code.checkVisibility());
          const cut = shown.filter(code => code.scrollWidth > code.clientWidth + 1);
          return cut.map(code => `${name(code)}: ${code.scrollWidth - code.clientWidth} px are cut off`);
        }"""
    )


def figure_faults(page: Page, *, may_scroll: bool) -> list[str]:
    """Figures that shrink until they cannot be read, or must be scrolled where they may not; boxes that are missed.

    A box is missed where a keyboard cannot reach it or a screen reader cannot name it.
    """
    return page.evaluate(
        """mayScroll => {"""
        + _HELP
        + """
          const found = [];
          for (const image of document.querySelectorAll("figure img")) {
            const share = image.getBoundingClientRect().width / image.naturalWidth;
            if (share < 0.65) found.push(`${image.src}: shrunk to ${Math.round(100 * share)} %`);
            const box = image.closest("figure > *");
            const hidden = box.scrollWidth - box.clientWidth;
            if (hidden > 1 && !mayScroll) found.push(`${image.src}: ${hidden} px must be scrolled to`);
            if (!scrolls(box)) found.push(`${name(box)}: does not scroll`);
            if (box.tabIndex < 0) found.push(`${name(box)}: cannot be reached by keyboard`);
            if (box.role !== "region" || !box.ariaLabel) found.push(`${name(box)}: a region without a name`);
          }
          return found;
        }""",
        may_scroll,
    )


def verdict_faults(page: Page, pixels: int = 900) -> list[str]:
    """Whether a verdict stands within the first pixels of a page, whole."""
    bottom = page.evaluate("document.querySelector('.verdict')?.getBoundingClientRect().bottom + scrollY")
    if bottom is None or bottom != bottom:
        return ["there is no verdict"]
    return [] if bottom <= pixels else [f"the verdict ends at {bottom:.0f} px, not within {pixels}"]


def mathematics_faults(page: Page) -> list[str]:
    """Formulas that were not set, or that MathJax could not read."""
    return page.evaluate(
        """() => {"""
        + _HELP
        + r"""
          const found = [];
          for (const formula of document.querySelectorAll(".math"))
            if (!formula.querySelector("mjx-container")) found.push(`${name(formula)}: not set`);
          for (const part of document.querySelectorAll("mjx-merror, mjx-mtext[style*='color: red']"))
            found.push(`${name(part)}: not understood`);
          const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (texts.nextNode()) {
            const element = texts.currentNode.parentElement;
            if (/\\[([]/.test(texts.currentNode.data) && !element.closest("code, pre, script, style, .math"))
              found.push(`${name(element)}: raw TeX`);
          }
          return found;
        }"""
    )


def contents_faults(page: Page) -> list[str]:
    """Whether the button of a narrow page opens the contents, so that a link of theirs can be followed."""
    button = page.locator("button.primary-toggle")
    if not button.count() or not button.is_visible():
        return ["button.primary-toggle: no button for the contents"]
    reached = """[...document.querySelectorAll(".bd-sidenav a")].some(link => {
      const {left, top, width, height} = link.getBoundingClientRect();
      return width && link.contains(document.elementFromPoint(left + width / 2, top + height / 2));
    })"""
    if not _comes_true(page, f"!{reached}"):
        return [".bd-sidenav: the contents are open before the button is pressed"]
    button.click()
    if not _comes_true(page, reached):
        return [".bd-sidenav: the button was pressed and no link of the contents can be reached"]
    return []


def _comes_true(page: Page, condition: str) -> bool:
    """Whether a condition holds soon: what slides in or out takes its time."""
    try:
        page.wait_for_function(condition, timeout=2000)
    except TooLate:
        return False
    return True


def name_faults(page: Page) -> list[str]:
    """Links, buttons and images that a screen reader cannot name, and places that are named twice."""
    return _axe(page, ["button-name", "duplicate-id", "image-alt", "link-name"], "body")


def contrast_faults(page: Page, known: set[str]) -> list[str]:
    """Text that stands out too little from what is behind it.

    To measure an element takes milliseconds, so that of all with one look (colour, size, ground) the first is measured.
    Looks in ``known`` have been measured, perhaps on another page; those of this page are added.
    """
    new = page.evaluate(
        """known => {
          const grounds = new Map([[null, ""]]);
          const ground = element => {
            if (!grounds.has(element)) {
              const {backgroundColor, backgroundImage, opacity} = getComputedStyle(element);
              const own = [backgroundColor, backgroundImage, opacity].filter(
                each => !["rgba(0, 0, 0, 0)", "none", "1"].includes(each));
              grounds.set(element, [ground(element.parentElement), ...own].join(" "));
            }
            return grounds.get(element);
          };
          const looks = new Set(known);
          const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (texts.nextNode()) {
            const element = texts.currentNode.parentElement;
            // What only a screen reader sees is one pixel wide.
            const seen = element.checkVisibility() && element.getBoundingClientRect().width > 1;
            if (!seen || !texts.currentNode.data.trim()) continue;
            const {color, fontSize, fontWeight} = getComputedStyle(element);
            const look = [color, fontSize, fontWeight, ground(element)].join(" ");
            if (!looks.has(look)) element.setAttribute("data-look", "");
            looks.add(look);
          }
          return [...looks].slice(known.length);
        }""",
        list(known),
    )
    known.update(new)
    found = _axe(page, ["color-contrast"], "[data-look]") if new else []
    page.evaluate("document.querySelectorAll('[data-look]').forEach(each => each.removeAttribute('data-look'))")
    return found


def _axe(page: Page, rules: Sequence[str], selector: str) -> list[str]:
    """What axe-core finds against some rules (https://dequeuniversity.com/rules/axe/) in chosen elements."""
    page.evaluate(f"() => {{ if (!window.axe) {{ {AXE_SCRIPT} }} }}")
    options = {"runOnly": {"type": "rule", "values": rules}, "resultTypes": ["violations"]}
    found = []
    for violation in page.evaluate("([within, options]) => axe.run(within, options)", [selector, options])[
        "violations"
    ]:
        for node in violation["nodes"]:
            told = (node["any"] + node["all"] + node["none"])[0]["message"]
            found.append(f"{violation['id']}: {' '.join(map(str, node['target']))}: {told}")
    return found


def follow_claims(page: Page, address: str) -> dict[str, tuple[str, int]]:
    """Clicks the title of every claim in the table of a page; where each leads to, and the status of the answer."""
    found = {}
    page.goto(address)
    titles = page.locator(".claims th a")
    for number in range(titles.count()):
        title = titles.nth(number).inner_text()
        with page.expect_response(lambda response: response.request.is_navigation_request()) as answer:
            titles.nth(number).click()
        found[title] = (urljoin(address, answer.value.url).removeprefix(urljoin(address, ".")), answer.value.status)
        page.goto(address)
    return found


def loaded_bytes(page: Page, address: str, site: Path) -> int:
    """How much a page loads when it is opened, packed as servers pack it; what is packed already stays as it is."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    settle(page)
    files = {site / unquote(urlsplit(each).path.lstrip("/")) for each in asked}
    packed = (".woff2", ".png", ".jpg", ".webp", ".gz")
    return sum(len(each.read_bytes() if each.suffix in packed else gzip.compress(each.read_bytes())) for each in files)


def search_hits(page: Page, address: str, query: str) -> list[str]:
    """The pages that the search of a site lists for some words, best first."""
    page.goto(f"{address}search.html?q={quote_plus(query)}")
    page.wait_for_function("document.querySelector('.search-summary')?.textContent.trim()")
    links = page.locator("ul.search > li > a").all()
    return [(link.get_attribute("href") or "").split("#")[0] for link in links]


def search_excerpts(page: Page, address: str, query: str) -> list[str]:
    """What the search of a site shows of its hits, best first."""
    search_hits(page, address, query)
    page.wait_for_load_state("networkidle")
    return page.locator("ul.search > li > .context").all_inner_texts()
