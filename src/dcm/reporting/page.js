"use strict";
// The table of examples: sorted, filtered, a page at a time. Texts are set as text, never as markup.
(() => {
  const PAGE = 50, LONGEST = 400;
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.fields.map((name, place) => [name, place]));
  const get = (id) => document.getElementById(id);
  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const outcome = (row) => row[at.certified] === true ? "certified"
    : row[at.certified] === false && row[at.exact] ? "exact, not certified"
    : row[at.certified] === null && row[at.exact] ? "exact, not decoded" : "not exact";
  const columns = [
    ["example", (row) => row[at.id]],
    ["outcome", (row) => (row[at.certified] === true ? 2 : 0) + (row[at.exact] ? 1 : 0)],
    ["steps", (row) => row[at.steps]],
    ["attempts", (row) => row[at.attempts]],
    ["loss, nats", (row) => row[at.loss] === null ? -1 : row[at.loss]],
    ["curve", (row) => row[at.shape]],
    ["texts", (row) => row[at.question]],
  ];
  const rows = data.rows;
  // What is wrong comes first: not certified, and of those the highest loss.
  const worst = (a, b) => columns[1][1](a) - columns[1][1](b) || columns[4][1](b) - columns[4][1](a);
  const compare = (pick, sign) => (a, b) => {
    const x = pick(a), y = pick(b);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  };
  rows.sort(worst);
  const hay = new Map();
  const text = (row) => {
    let found = hay.get(row);
    if (found === undefined) {
      const decoded = row[at.decoded] === 1 ? [] : Object.values(row[at.decoded]);
      found = [row[at.id], row[at.question], row[at.answer], row[at.reason], ...decoded].join("\n").toLowerCase();
      hay.set(row, found);
    }
    return found;
  };
  let kept = rows, page = 0, sorted = -1, sign = 1;

  const option = (select, value, label) => {
    const element = make("option", label);
    element.value = value;
    select.append(element);
  };
  const choices = (select, pick, name) => {
    const counts = new Map();
    for (const row of rows) counts.set(pick(row), (counts.get(pick(row)) || 0) + 1);
    option(select, "", "all");
    for (const [value, count] of counts) option(select, String(value), `${name(value)} (${count})`);
    select.closest("label").hidden = counts.size < 2;
  };

  // The words of two texts, each with whether it is in the other too, in order.
  const differ = (before, after) => {
    const cut = (whole) => whole.slice(0, 4000).match(/\s+|[^\s\p{P}]+|\p{P}/gu) || [];
    const a = cut(before), b = cut(after);
    const table = Array.from({length: a.length + 1}, () => new Uint16Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    const left = [], right = [];
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { left.push([a[i++], true]); right.push([b[j++], true]); }
      else if (j >= b.length || (i < a.length && table[i + 1][j] >= table[i][j + 1])) left.push([a[i++], false]);
      else right.push([b[j++], false]);
    }
    return [left, right];
  };
  const line = (label, parts, tag) => {
    const element = make("span", undefined, "text");
    element.append(make("b", label));
    let length = 0;
    for (const [part, same] of parts) {
      if (length > LONGEST) { element.append(" …"); break; }
      element.append(same ? part : make(tag, part));
      length += part.length;
    }
    return element;
  };
  const texts = (row) => {
    const cell = make("td", undefined, "texts");
    const decoded = row[at.decoded], asked = {question: row[at.question], answer: row[at.answer]};
    const modes = decoded === 1 ? [] : Object.keys(decoded);
    for (const mode of ["question", "answer"]) {
      if (decoded === 1 || decoded[mode] === asked[mode]) cell.append(line(`${mode} ✓`, [[asked[mode], true]]));
      else if (decoded[mode] === undefined) cell.append(line(modes.length ? `${mode}, not asked of it` : mode, [[asked[mode], true]]));
      else {
        const [left, right] = differ(asked[mode], decoded[mode]);
        cell.append(line(mode, left, "del"), line("decoded ✗", right.length ? right : [["nothing", false]], "ins"));
      }
    }
    for (const mode of modes) if (!(mode in asked)) cell.append(line(`${mode}, decoded`, [[decoded[mode], true]]));
    if (row[at.reason]) cell.append(line("reason", [[row[at.reason], true]]));
    return cell;
  };
  const draw = () => {
    const body = get("table").tBodies[0], lines = document.createDocumentFragment();
    for (const row of kept.slice(page * PAGE, (page + 1) * PAGE)) {
      const element = make("tr"), name = make("td", row[at.id], "id");
      if (data.runs.length > 1) name.append(make("small", data.runs[row[at.run]]));
      const certified = row[at.certified] === true;
      const cells = [
        make("td", (certified ? "✓ " : "✗ ") + outcome(row) + (row[at.status] === "CONVERGED" ? "" : ` · ${row[at.status]}`), certified ? "yes" : "no"),
        make("td", row[at.steps]), make("td", row[at.attempts]),
        make("td", row[at.loss] === null ? "-" : row[at.loss].toPrecision(3)), make("td", row[at.shape]),
      ];
      cells.forEach((cell, place) => { cell.dataset.head = columns[place + 1][0]; });
      element.append(name, ...cells, texts(row));
      lines.append(element);
    }
    body.replaceChildren(lines);
    const pages = Math.max(1, Math.ceil(kept.length / PAGE)), first = page * PAGE + 1;
    get("count").textContent = rows.length === 0 ? "No example has finished."
      : kept.length === 0 ? `None of ${rows.length} examples.`
      : `Examples ${first} to ${Math.min(first + PAGE - 1, kept.length)} of ${kept.length}` + (kept.length < rows.length ? `, of ${rows.length} in all.` : sorted < 0 ? ", what is not certified first." : ".");
    get("page").textContent = `${page + 1} of ${pages}`;
    get("pages").hidden = pages < 2;
    get("back").disabled = page === 0;
    get("next").disabled = page === pages - 1;
    document.querySelectorAll("#table th").forEach((head, place) =>
      head.setAttribute("aria-sort", place !== sorted ? "none" : sign > 0 ? "ascending" : "descending"));
  };
  const filter = () => {
    const wanted = get("search").value.toLowerCase(), ended = get("outcome").value;
    const shape = get("shape").value, run = get("run").value;
    kept = rows.filter((row) => (!ended || outcome(row) === ended) && (!shape || row[at.shape] === shape)
      && (!run || String(row[at.run]) === run) && (!wanted || text(row).includes(wanted)));
    kept.sort(sorted < 0 ? worst : compare(columns[sorted][1], sign));
    page = 0;
    draw();
  };
  const sort = (place) => {
    sign = place === sorted ? -sign : 1;
    sorted = place;
    filter();
  };
  columns.forEach(([name], place) => {
    const head = make("th"), button = make("button", name);
    button.type = "button";
    head.scope = "col";
    button.addEventListener("click", () => sort(place));
    head.append(button);
    get("table").tHead.rows[0].append(head);
  });
  choices(get("outcome"), outcome, (value) => value);
  choices(get("shape"), (row) => row[at.shape], (value) => value || "none");
  choices(get("run"), (row) => row[at.run], (value) => data.runs[value]);
  option(get("order"), "-1", "what is not certified");
  columns.forEach(([name], place) => option(get("order"), String(place), name));
  get("order").addEventListener("change", (event) => { sorted = Number(event.target.value); sign = 1; filter(); });
  get("filters").addEventListener("submit", (event) => event.preventDefault());
  get("search").addEventListener("input", filter);
  for (const id of ["outcome", "shape", "run"]) get(id).addEventListener("change", filter);
  const turn = (by) => { page += by; draw(); get("examples").scrollIntoView(); };
  get("back").addEventListener("click", () => turn(-1));
  get("next").addEventListener("click", () => turn(1));
  get("filters").hidden = rows.length === 0;
  draw();
})();
