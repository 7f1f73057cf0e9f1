"use strict";
/* The one script of every page: search, sorting, keys, choosing suspects. Pages are readable without it. */
(() => {
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const fold = (text) => text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase().replace(/[_\s-]+/g, " ").trim();

  // Go to a breed: an exact name, else the first that contains what was typed.
  for (const form of all("form[data-find]")) {
    const input = form.querySelector("input");
    const places = all("option", form);
    const match = (text) => places.find((p) => fold(p.value) === fold(text));
    const go = (place) => { if (place) window.location.href = form.dataset.find + place.dataset.href; };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const typed = fold(input.value);
      if (!typed) return;
      const place = match(typed) || places.find((p) => fold(p.value).startsWith(typed)) || places.find((p) => fold(p.value).includes(typed));
      input.setCustomValidity(place ? "" : "No breed of that name here");
      if (place) go(place); else input.reportValidity();
    });
    input.addEventListener("input", (event) => {
      input.setCustomValidity("");
      // Choosing from the list arrives as a replacement of the whole text, typing does not.
      if (event.inputType === "insertReplacementText" || event.inputType === undefined) go(match(input.value));
    });
  }

  // Sort a table by a column: the button's th says the state, cells may carry data-v.
  for (const table of all("table[data-sort]")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("r");
        const now = head.getAttribute("aria-sort");
        const up = now ? now !== "ascending" : !numeric;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => { const cell = row.cells[column]; return cell.dataset.v ?? cell.textContent.trim(); };
        const worth = (row) => { const v = parseFloat(key(row)); return Number.isNaN(v) ? (up ? Infinity : -Infinity) : v; };
        const rows = all("tbody tr", table);
        rows.sort((a, b) => (numeric ? worth(a) - worth(b) : key(a).localeCompare(key(b))) * (up ? 1 : -1));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // Filter rows or cards by their data-text; say how many are left.
  for (const input of all("input[data-filter]")) {
    const items = all(input.dataset.filter);
    const said = document.getElementById(input.dataset.said);
    const apply = () => {
      const words = fold(input.value).split(" ").filter(Boolean);
      let left = 0;
      for (const item of items) {
        item.hidden = !words.every((word) => fold(item.dataset.text).includes(word));
        if (!item.hidden) left += 1;
      }
      if (said) said.textContent = words.length ? `${left} of ${items.length}` : `${items.length}`;
    };
    input.addEventListener("input", apply);
    if (input.value) apply();
  }

  // The matrix is one tab stop; arrows move between its links.
  for (const table of all("table.matrix")) {
    const rows = all("tbody tr", table).map((row) => all("td", row).map((cell) => cell.querySelector("a")));
    const links = rows.flat().filter(Boolean);
    if (!links.length) continue;
    links.forEach((link, index) => { link.tabIndex = index ? -1 : 0; });
    const columnHeads = all("thead th", table).slice(1);
    const at = (link) => { for (let r = 0; r < rows.length; r += 1) { const c = rows[r].indexOf(link); if (c >= 0) return [r, c]; } return [0, 0]; };
    const light = (link, on) => {
      const [r, c] = at(link);
      table.tBodies[0].rows[r].classList.toggle("lit", on);
      columnHeads[c]?.classList.toggle("lit", on);
    };
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    table.addEventListener("keydown", (event) => {
      const link = event.target.closest("a");
      if (!link || !step[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const [down, right] = step[event.key];
      let [r, c] = at(link);
      do { r += down; c += right; } while (rows[r] && c >= 0 && c < rows[r].length && !rows[r][c]);
      const next = rows[r]?.[c];
      if (!next) return;
      links.forEach((other) => { other.tabIndex = -1; });
      next.tabIndex = 0;
      next.focus();
    });
    for (const type of ["focusin", "mouseover"]) table.addEventListener(type, (e) => { const a = e.target.closest("td a"); if (a) light(a, true); });
    for (const type of ["focusout", "mouseout"]) table.addEventListener(type, (e) => { const a = e.target.closest("td a"); if (a) light(a, false); });
  }

  // Choose suspects and save the chosen ones as the CSV that `dogbreed run --relabel` takes.
  for (const button of all("button[data-save]")) {
    const boxes = all("input[data-id]");
    const said = document.getElementById(button.dataset.said);
    const harmless = (text) => {
      const cell = /^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text;
      return /[",\n\r]/.test(cell) ? `"${cell.replace(/"/g, '""')}"` : cell;
    };
    const chosen = () => boxes.filter((box) => box.checked);
    const tell = () => { const n = chosen().length; button.disabled = n === 0; said.textContent = n === 1 ? "1 chosen" : `${n} chosen`; };
    boxes.forEach((box) => box.addEventListener("change", tell));
    for (const every of all("button[data-all]")) {
      every.addEventListener("click", () => {
        const visible = boxes.filter((box) => !box.closest("[data-text]").hidden);
        const on = visible.some((box) => !box.checked);
        visible.forEach((box) => { box.checked = on; });
        tell();
      });
    }
    button.addEventListener("click", () => {
      const lines = chosen().map((box) => [box.dataset.id, box.dataset.given, box.dataset.suggested].map(harmless).join(","));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([["id,given,suggested", ...lines, ""].join("\n")], { type: "text/csv" }));
      link.download = button.dataset.save;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    tell();
  }

  // Single keys, never while typing and never with a modifier.
  const focusable = () => all("[data-step]").filter((item) => item.offsetParent !== null);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "/") {
      const find = document.getElementById("find");
      if (find) { event.preventDefault(); find.focus(); }
    } else if (event.key === "j" || event.key === "k") {
      const items = focusable();
      if (!items.length) return;
      const now = items.indexOf(document.activeElement.closest("[data-step]"));
      const next = items[now < 0 ? 0 : Math.min(Math.max(now + (event.key === "j" ? 1 : -1), 0), items.length - 1)];
      event.preventDefault();
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    } else if (event.key === "[" || event.key === "]") {
      document.querySelector(event.key === "[" ? "a[rel=prev]" : "a[rel=next]")?.click();
    }
  });

  // Print what is far down the page as well.
  window.addEventListener("beforeprint", () => all("img[loading=lazy]").forEach((image) => { image.loading = "eager"; }));
})();
