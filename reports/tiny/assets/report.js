"use strict";

// A link to a folded table opens it; paper shows the figures and the results.
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => document.querySelectorAll("#t-results").forEach((block) => { block.open = true; }));

(() => {
  const root = document.documentElement;
  // A browser that stores nothing for local files still switches.
  const memory = (write) => { try { return write ? localStorage.setItem("theme", write) : localStorage.getItem("theme"); } catch { return null; } };
  if (memory()) root.dataset.theme = memory();
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = document.querySelector(".theme");
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.setAttribute("aria-label", "Switch between light and dark");
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; memory(root.dataset.theme); label(); });
  label();
})();

for (const block of document.querySelectorAll(".table")) {
  const body = block.querySelector("tbody");
  const rows = [...body.rows];
  const count = block.querySelector(".count");
  const total = count.textContent;
  const selects = [...block.querySelectorAll("select")];
  const headings = [...block.querySelectorAll("thead th")];

  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = selects.some((select) => {
        const text = row.cells[Number(select.dataset.column)].textContent.trim();
        return select.value !== "" && text !== select.value;
      });
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = shown === rows.length ? total : `${shown} of ${total}`;
  };
  for (const select of selects) {
    for (const option of select.options) if (option.value !== "") option.value = option.textContent.trim();
    select.addEventListener("change", filter);
  }

  headings.forEach((heading, column) => {
    const numeric = heading.classList.contains("number");
    const control = document.createElement("button");
    control.type = "button";
    control.textContent = heading.textContent;
    heading.replaceChildren(control);
    control.addEventListener("click", () => {
      const state = heading.getAttribute("aria-sort");
      const descending = state === null ? numeric : state === "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.toLowerCase();
      const order = numeric
        ? (a, b) => Number(key(a)) - Number(key(b))
        : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      body.append(...[...rows].sort((a, b) => (descending ? -order(a, b) : order(a, b))));
    });
  });
}
