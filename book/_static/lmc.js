// A box that is wider than its place scrolls: its edge fades where more is to come, since a phone shows no bar.
document.addEventListener("DOMContentLoaded", () => {
  const look = ({ target: box }) => box.classList.toggle("goes-on", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  const sized = new ResizeObserver((entries) => entries.forEach(look));
  for (const box of document.querySelectorAll(".figure-box, .cell_output .output, .pst-scrollable-table-container, div.math")) {
    box.addEventListener("scroll", look);
    sized.observe(box);
  }
});
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
