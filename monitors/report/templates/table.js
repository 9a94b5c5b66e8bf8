"use strict";
// A click on a column's head sorts the table by it; unknown values stay last.
(() => {
  const table = document.getElementById("gpus");
  table?.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement, column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    head.parentElement.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const of = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [of(one), of(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const apart = Number.isNaN(a - b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
      return down ? -apart : apart;
    });
    table.tBodies[0].append(...rows);
  }));
})();
