// A line of code that is too long goes on below itself, further in, so that the next line can be told from it.
document.addEventListener("DOMContentLoaded", () => {
  for (const code of document.querySelectorAll(".cell_input .highlight pre")) {
    const lines = code.innerHTML.replace(/\n$/, "").split("\n");  // no mark of the highlighter goes over lines
    code.innerHTML = lines.map(line => `<span class="code-line">${line}\n</span>`).join("");
    for (const line of code.querySelectorAll(".code-line")) {
      line.style.setProperty("--hanging", `${line.textContent.search(/\S|$/) + 4}ch`);
    }
  }
});
