// The table of claims, filtered. The choice stands in the address, so that it can be linked, reloaded and gone back to.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector(".claims-filter");
  if (!form) return;
  const choices = [...form.querySelectorAll("select")];
  const rows = [...document.querySelectorAll(".claims tr[data-verdict]")];

  const show = () => {
    const fits = (row, { name, value }) => !value || row.dataset[name].split("|").includes(value);
    for (const row of rows) row.hidden = !choices.every((choice) => fits(row, choice));
    for (const group of document.querySelectorAll(".claims tbody"))
      group.hidden = !group.querySelector("tr[data-verdict]:not([hidden])");
    const count = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").value = `${count} of ${rows.length} claims${count ? "" : ": none fits all choices"}`;
  };
  const read = () => {
    const asked = new URLSearchParams(location.search);
    for (const choice of choices) {
      choice.value = asked.get(choice.name) ?? "";
      if (choice.selectedIndex < 0) choice.value = ""; // an address of before, whose choice is no more
    }
    show();
  };
  const write = () => {
    const address = new URL(location.href);
    for (const { name, value } of choices)
      if (value) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    history.pushState(null, "", address);
    show();
  };
  form.addEventListener("change", write);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser's own reset would come after this
    for (const choice of choices) choice.value = "";
    write();
  });
  window.addEventListener("popstate", read);
  form.hidden = false;
  read();
  if (choices.some(({ value }) => value)) form.scrollIntoView(); // who follows such an address wants the rows
});
