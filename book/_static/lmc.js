// What the theme leaves without a name or a role for a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll(".bd-sidenav li > details > summary")) {
    const link = summary.closest("li").querySelector("a");
    summary.setAttribute("aria-label", `Pages below ${link.textContent.trim()}`);
  }
  // The visible words "Show code cell source" say more than the label that hides them.
  for (const summary of document.querySelectorAll(".cell summary[aria-label]")) summary.removeAttribute("aria-label");
  for (const entry of document.querySelectorAll("[role=list] > .citation")) entry.setAttribute("role", "listitem");
});
