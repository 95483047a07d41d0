// How the search ranks what it finds: claims first, and a guide whose title says what is asked; then guides and other pages;
// the pages of the API last. Among equal hits a title that says what is asked comes first, then the order of the book.
// Sphinx asks for all weights where it is given a scorer; but for `score` they are its own.
const wanted = (new URLSearchParams(location.search).get("q") ?? "").trim().toLowerCase();
const placeOf = (docname) => {
  const pages = [...document.querySelectorAll(".bd-sidenav a")].map((link) => link.getAttribute("href"));
  const place = pages.indexOf(`${docname}.html`);
  return place < 0 ? pages.length : place;
};
var Scorer = {
  score: ([docname, title, , , score]) => {
    const named = wanted !== "" && title.toLowerCase().includes(wanted);
    const first = docname.startsWith("book/claims/") || (named && docname.startsWith("book/guides/"));
    const last = docname.startsWith("book/api/");
    return score + (first ? 100 : last ? -100 : 0) + (named ? 20 : 0) - placeOf(docname) / 1000;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
