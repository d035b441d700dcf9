/* report.js: the page of one run: table, filter, keys, URL; everything that changes goes through show(). */
const run = lines.find((line) => "schema" in line) || {};
const end = (lines.find((line) => "summary" in line) || {}).summary;
/* workers answer in any order; the table has one */
const results = lines.filter((line) => "id" in line).sort((a, b) => (a.index || 0) - (b.index || 0));
const bench = lines.filter((line) => line.type === "bench");
const compared = lines.find((line) => line.type === "changes");
const rowHeight = 28;
const ulp = (result) => result.difference ? result.difference.max_ulp : undefined;
const firstLine = (result) => result.message.split("\n", 1)[0];
const descending = (value) => typeof value === "number" ? -value : value === "inf" || value === "nan" ? -Infinity : 0;
const columns = [
    { head: "verdict", key: (r) => verdicts.indexOf(r.verdict), text: (r) => r.verdict, kind: "verdict" },
    { head: "case", key: (r) => r.id, text: (r) => r.id.replace(/^grouped_gemm_/, ""), kind: "id" },
    { head: "seconds", key: (r) => descending(r.seconds), text: (r) => number(r.seconds, 3), kind: "n" },
    { head: "kernel ms", key: (r) => descending(r.kernel_ms), text: (r) => r.kernel_ms ? number(r.kernel_ms, 3) : "", kind: "n" },
    { head: "max ulp", key: (r) => descending(ulp(r)), text: (r) => number(ulp(r), 2), kind: "n" },
    { head: "message", key: (r) => firstLine(r) || "\uffff", text: firstLine, kind: "dim" },
];

const byCase = new Map(results.map((result) => [result.id, result]));
if (compared)
    for (const change of compared.cases) { /* a case that only the baseline has is told of, too */
        if (!byCase.has(change.id) && change.before) {
            const gone = { id: change.id, verdict: "skipped", message: `only in the baseline: ${change.before.verdict}`, repeats: 0, seconds: 0, kernel_ms: 0, digest: "" };
            results.push(gone);
            byCase.set(gone.id, gone);
        }
        const result = byCase.get(change.id);
        if (result) result.change = change;
    }
for (const result of results) result.lowered = result.id.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
const changesOf = (result) => result.change ? result.change.changes : [];
const badges = ["changed digest", "other bits from the same kernel", "new", "new failure", "flaky", "fixed"]; /* that a row shows */

/* Of the view; the URL's hash has the same. */
const state = { filter: "", hidden: new Set(), changed: "", sort: columns[0], reverse: false, cursor: null, open: false };
const sorted = new Map(); /* of a column, made when first asked for */
let shown = results, fault = "", matches = () => true;

function sortedBy(column) {
    if (!sorted.has(column)) {
        const keyed = results.map((result, at) => ({ result, at, key: column.key(result) }));
        keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.at - b.at));
        sorted.set(column, keyed.map(({ result }) => result));
    }
    return sorted.get(column);
}

const selects = (result) => !state.hidden.has(result.verdict) && (!state.changed || changesOf(result).includes(state.changed)) && matches(result.lowered);

function select() {
    try {
        matches = compile(state.filter);
        fault = "";
    } catch (error) {
        fault = error.message;
    }
    byId("filter").setAttribute("aria-invalid", fault !== "");
    if (!fault) {
        shown = sortedBy(state.sort).filter(selects);
        if (state.reverse) shown.reverse();
    }
    byId("note").textContent = fault || `${shown.length} of ${results.length} cases`;
    byId("note").classList.toggle("failed", fault !== "");
    byId("space").style.height = `${shown.length * rowHeight}px`;
    draw();
}

/* Only the rows in sight exist. */
function draw() {
    const list = byId("list"), made = [];
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - 5);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + 5);
    for (let i = first; i < last; i++) {
        const result = shown[i], chosen = result === state.cursor;
        const row = element("div", { className: chosen ? "row chosen" : "row", id: `row-${i}`, role: "row", ariaRowIndex: i + 2, ariaSelected: chosen });
        row.style.top = `${i * rowHeight}px`;
        for (const column of columns) {
            const text = column.text(result), cell = element("span", { className: column.kind, role: "gridcell", title: text, textContent: text });
            if (column.kind === "verdict") cell.classList.add(result.verdict);
            const badge = column.kind === "id" && badges.find((one) => changesOf(result).includes(one));
            if (badge) cell.prepend(element("span", { className: "badge", textContent: badge }));
            row.append(cell);
        }
        row.onclick = () => open(result);
        made.push(row);
    }
    list.replaceChildren(byId("space"), ...made);
    byId("table").setAttribute("aria-rowcount", shown.length + 1);
    const at = shown.indexOf(state.cursor);
    if (at >= first && at < last) list.setAttribute("aria-activedescendant", `row-${at}`);
    else list.removeAttribute("aria-activedescendant");
}

function drawSide() {
    const side = byId("side"), result = state.open ? state.cursor : null;
    document.querySelector("main").classList.toggle("open", result !== null);
    side.setAttribute("aria-label", result ? "case" : "overview");
    if (result) {
        fillCase(side, run, result, close);
        side.scrollTop = 0;
        return;
    }
    side.replaceChildren(...drawShared(results, setFilter), ...drawMatrix(results, selects, setFilter),
        ...(bench.length ? [...roofline(bench), ...scaling(bench), ...benchTable(bench)] : []), ...drawEnvironment(run, end));
}

function reveal() {
    const list = byId("list"), top = shown.indexOf(state.cursor) * rowHeight;
    if (top < 0) return;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + rowHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + rowHeight - list.clientHeight;
}

function show() {
    select();
    reveal();
    draw();
    drawSide();
    writeHash();
}

function open(result) {
    state.cursor = result;
    state.open = true;
    show();
}

function close() {
    state.open = false;
    show();
}

function move(step) {
    const at = shown.indexOf(state.cursor), next = shown[Math.min(shown.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    if (!next) return;
    state.cursor = next;
    reveal();
    draw();
    if (state.open) drawSide();
    writeHash();
}

function setFilter(text) {
    state.filter = byId("filter").value = text;
    byId("list").scrollTop = 0;
    show();
}

/* --- the URL: a view can be sent as a link --- */
let writing = 0;
function hashOf() {
    const words = new URLSearchParams();
    if (state.filter) words.set("k", state.filter);
    if (state.hidden.size) words.set("hide", [...state.hidden].join(","));
    if (state.changed) words.set("changed", state.changed);
    if (state.sort !== columns[0] || state.reverse) words.set("sort", (state.reverse ? "-" : "") + state.sort.head);
    if (state.open && state.cursor) words.set("case", state.cursor.id);
    return words.toString();
}

/* Not at every key: browsers refuse a page that does it too often. */
function writeHash() {
    clearTimeout(writing);
    writing = setTimeout(() => {
        const hash = hashOf();
        if (hash !== location.hash.slice(1)) history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
    }, 120);
}

function readHash() {
    const words = new URLSearchParams(location.hash.slice(1)), sort = (words.get("sort") || "").replace(/^-/, "");
    state.filter = byId("filter").value = words.get("k") || "";
    state.hidden = new Set((words.get("hide") || "").split(",").filter((verdict) => verdicts.includes(verdict)));
    state.changed = words.get("changed") || "";
    state.sort = columns.find((column) => column.head === sort) || columns[0];
    state.reverse = (words.get("sort") || "").startsWith("-");
    state.open = byCase.has(words.get("case"));
    if (state.open) state.cursor = byCase.get(words.get("case"));
    drawControls();
    show();
}

/* --- the controls --- */
function drawControls() {
    const chips = [], changes = new Map();
    for (const verdict of verdicts) {
        const count = results.filter((r) => r.verdict === verdict).length;
        if (!count) continue;
        chips.push(element("button", { type: "button", className: `chip ${verdict}`, ariaPressed: !state.hidden.has(verdict), onclick: () => {
            if (!state.hidden.delete(verdict)) state.hidden.add(verdict);
            drawControls();
            show();
        } }, element("b", { textContent: count }), ` ${verdict}`));
    }
    for (const change of compared ? compared.cases : [])
        for (const name of change.changes) changes.set(name, (changes.get(name) || 0) + 1);
    if (changes.size) chips.push(element("span", { className: "dim", textContent: `against ${compared.baseline}:` }));
    for (const [change, count] of changes)
        chips.push(element("button", { type: "button", className: "chip", ariaPressed: !state.changed || state.changed === change, onclick: () => {
            state.changed = state.changed === change ? "" : change;
            drawControls();
            show();
        } }, element("b", { textContent: count }), ` ${change}`));
    byId("chips").replaceChildren(...chips);
    byId("heads").replaceChildren(...columns.map((column) => element("span", {
        role: "columnheader", className: column.kind === "n" ? "n" : "", ariaSort: column !== state.sort ? "none" : state.reverse ? "descending" : "ascending",
    }, element("button", { type: "button", textContent: column.head, title: `sort by ${column.head}`, onclick: () => {
        state.reverse = state.sort === column && !state.reverse;
        state.sort = column;
        drawControls();
        show();
    } }))));
}

const keys = [["j, \u2193", "next case"], ["k, \u2191", "previous case"], ["g, G", "first, last case"], ["Enter", "open the case"],
    ["Escape", "close it; leave the filter"], ["/", "filter"], ["c", "copy the line that runs the case again"], ["?", "this list"]];
function toggleHelp() {
    const help = byId("help");
    if (help.open) return help.close();
    help.replaceChildren(element("table", {}, ...keys.map(([key, does]) =>
        element("tr", {}, element("td", {}, element("kbd", { textContent: key })), element("td", { textContent: does })))));
    help.showModal();
    return undefined;
}

const actions = {
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1), PageDown: () => move(20), PageUp: () => move(-20),
    g: () => move(-results.length), G: () => move(results.length), Enter: () => state.cursor && open(state.cursor), Escape: () => state.open && close(),
    "/": () => byId("filter").select(), "?": toggleHelp, c: () => { const copy = document.querySelector(".copy"); if (copy) copy.click(); },
};
addEventListener("keydown", (event) => {
    const inFilter = event.target === byId("filter"), onButton = event.target.tagName === "BUTTON";
    if (event.ctrlKey || event.metaKey || event.altKey || (onButton && event.key === "Enter")) return;
    if (byId("help").open) { if (event.key === "?") toggleHelp(); return; }
    if (inFilter) {
        if (event.key !== "Escape" && event.key !== "Enter" && event.key !== "ArrowDown") return;
        event.preventDefault();
        byId("list").focus();
        if (event.key !== "Escape") move(0);
        return;
    }
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
});

byId("filter").oninput = () => {
    state.filter = byId("filter").value;
    byId("list").scrollTop = 0;
    select();
    writeHash();
    clearTimeout(byId("filter").pending); /* the overview may follow a moment later */
    byId("filter").pending = setTimeout(() => { if (!state.open) drawSide(); }, 150);
};
byId("keys").onclick = toggleHelp;
byId("list").onscroll = draw;
addEventListener("resize", draw);
addEventListener("hashchange", readHash);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSide); /* canvases have fixed colours */

const badCount = results.filter((r) => isBad(r.verdict)).length, deviceName = (run.device || {}).name;
const outcome = !results.length && bench.length ? `${bench.length} measurements`
    : badCount ? `${badCount} of ${results.length} cases bad` : `none of ${results.length} cases bad`;
document.body.classList.toggle("measurements", !results.length && bench.length > 0);
document.title = `${outcome}: moegemm`;
byId("title").textContent = `moegemm ${run.version || ""} on ${deviceName || "an unknown device"}: ${outcome}`;
byId("environment").append(
    [run.commit && `commit ${run.commit}`, run.time, run.backend && `backend ${run.backend}`, run.subject && `subject ${run.subject}`,
        run.deselected && `${run.deselected} deselected`, !results.length ? "" : end ? `${number(end.seconds, 1)} s` : "the run was killed before its end", end && end.interrupted && "interrupted",
        end && end.not_run && `${end.not_run} not run`].filter(Boolean).join(" \u00b7 "),
    element("br"), element("code", { textContent: run.command || "" }));
readHash();
