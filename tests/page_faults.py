"""What may be wrong with a site: each function looks for one kind of fault and says where it found it.

Functions of a *site* read its files; functions of a *page* look at what a browser shows of it.
"""

import functools
import http.server
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request, Response, Route
from playwright.sync_api import TimeoutError as TooLate

# Rules of axe-core that a program can decide. Their descriptions: https://dequeuniversity.com/rules/axe/
RULES = ("button-name", "color-contrast", "duplicate-id", "image-alt", "link-name")


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


def link_faults(site: Path) -> list[str]:
    """Links of the pages of a site, downloads and what they load among them, that lead to no file or place of it."""
    pages = {path: Tags(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue  # another site, or data within the page
            # A site may be served below any address, so what begins with a slash leads astray.
            target = Path(f"{path.parent}/{unquote(parts.path)}").resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if parts.path.startswith("/") or not target.is_relative_to(site) or not target.exists():
                found.append(f"{path.relative_to(site)}: {link}: no such file in the site")
            elif target in pages and unquote(parts.fragment) not in pages[target].places:
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serves a folder on this machine, at a free port; gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
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
            let farthest = box.firstElementChild;
            const look = element => {
              // Of those that reach equally far, the innermost is the cause.
              if (right(element) >= right(farthest)) farthest = element;
              if (element === box || overflow(element) === "visible") [...element.children].forEach(look);
            };
            [...box.children].forEach(look);
            const what = name(box).split(" ")[0];
            return `${what} scrolls from ${box.clientWidth} to ${box.scrollWidth} px because of ${name(farthest)}`;
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
    if _link_on_top(page):
        return [".bd-sidenav: the contents are open before the button is pressed"]
    button.click()
    try:
        page.wait_for_function(_LINK_ON_TOP, timeout=2000)
    except TooLate:
        return [".bd-sidenav: the button was pressed and no link of the contents can be reached"]
    return []


_LINK_ON_TOP = """() => [...document.querySelectorAll(".bd-sidenav a")].some(link => {
  const {left, top, width, height} = link.getBoundingClientRect();
  return width && link.contains(document.elementFromPoint(left + width / 2, top + height / 2));
})"""


def _link_on_top(page: Page) -> bool:
    return page.evaluate(_LINK_ON_TOP)


def legibility_faults(page: Page, allowed: Sequence[str] = ()) -> list[str]:
    """What axe-core finds against its rules, but in elements that one of the allowed selectors matches."""
    options = {"runOnly": {"type": "rule", "values": list(RULES)}, "resultTypes": ["violations"]}
    context = {"exclude": [[selector] for selector in allowed]} if allowed else None
    found = []
    for violation in Axe().run(page, context, options).response["violations"]:
        for node in violation["nodes"]:
            told = next(iter(node["any"] + node["all"] + node["none"]))["message"]
            found.append(f"{violation['id']}: {' '.join(map(str, node['target']))}: {told}")
    return found


def follow_cards(page: Page, address: str) -> dict[str, tuple[str, int]]:
    """Clicks every card of a page; where each leads to, and the status of the answer."""
    found = {}
    page.goto(address)
    for number in range(page.locator(".sd-card").count()):
        card = page.locator(".sd-card").nth(number)
        title = card.locator(".sd-card-title").inner_text()
        with page.expect_response(lambda response: response.request.is_navigation_request()) as answer:
            card.click()
        found[title] = (urljoin(address, answer.value.url).removeprefix(urljoin(address, ".")), answer.value.status)
        page.goto(address)
    return found
