// Two comforts: the chosen tabs are in the address, and the list of runs is searched and sorted.
// Names come from records: they are only ever put into the page as text.
"use strict";

for (const tab of document.querySelectorAll(".tabs > input")) {
  if (location.hash === "#" + tab.id) tab.checked = true;
  tab.addEventListener("change", () => history.replaceState(null, "", "#" + tab.id));
}

const packed = document.getElementById("packed");
if (packed) {
  const rows = JSON.parse(packed.textContent).rows; // each: an address, then the cells
  const section = document.getElementById("runs");
  const table = section.querySelector("table");
  const search = section.querySelector("input");
  const headings = [...table.querySelectorAll("th[scope=col]")];
  const words = rows.map((row) => row.slice(1).join(" ").toLowerCase());
  let order = rows.map((_, place) => place);

  const show = () => {
    const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = order.filter((place) => asked.every((word) => words[place].includes(word)));
    const shown = found.slice(0, Number(table.dataset.most));
    table.tBodies[0].replaceChildren(...shown.map((place) => line(rows[place])));
    section.querySelector("output").textContent = `${shown.length} of ${found.length} shown`;
  };

  const line = ([address, ...cells]) => {
    const made = document.createElement("tr");
    cells.forEach((text, place) => {
      const cell = made.appendChild(document.createElement(place ? "td" : "th"));
      const within = place ? cell : cell.appendChild(document.createElement("a"));
      if (!place) within.href = address;
      if (!place) cell.scope = "row";
      within.textContent = text;
    });
    return made;
  };

  const sort = (column) => {
    const rising = headings[column].getAttribute("aria-sort") !== "ascending";
    headings.forEach((heading) => heading.removeAttribute("aria-sort"));
    headings[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    const way = rising ? 1 : -1;
    order.sort((one, other) => way * compare(rows[one][column + 1], rows[other][column + 1]));
    show();
  };

  search.addEventListener("input", show);
  headings.forEach((heading, column) => heading.firstChild.addEventListener("click", () => sort(column)));
  show();
}
