// How the search ranks what it finds: claims first, then guides and other pages, the pages of the API last.
// Sphinx asks for all weights where it is given a scorer; but for `score` they are its own.
var Scorer = {
  score: ([docname, , , , score]) => {
    if (docname.startsWith("book/claims/")) return score + 100;
    if (docname.startsWith("book/api/")) return score - 100;
    return score;
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
