/* history.js: the page of all runs: counts over time, and a row of marks a case. */
const runs = lines.runs, news = new Map(lines.news.cases.map((one) => [one.id, one]));
const rowHeight = 28, letters = { ".": "passed", F: "failed", E: "error", s: "skipped", x: "xfailed", m: "mistrusted" };
const events = ["changed digest", "new", "recurring", "flaky", "fixed"];
const isBadLetter = (letter) => "FEm".includes(letter);
const cases = lines.cases.map((one) => ({
    ...one, lowered: one.id.replace(/[A-Z]/g, (letter) => letter.toLowerCase()), events: (news.get(one.id) || { changes: [] }).changes,
    bad: [...one.verdicts].filter(isBadLetter).length,
}));
const rank = (one) => { const at = events.findIndex((event) => one.events.includes(event)); return at < 0 ? events.length : at; };
cases.sort((a, b) => rank(a) - rank(b) || b.bad - a.bad || (a.id < b.id ? -1 : 1));
let shown = cases, chosen = null, wanted = "";

function marks(one) {
    let before = 0;
    return element("span", { className: "timeline", role: "gridcell", ariaLabel: [...one.verdicts].map((l) => letters[l] || "absent").join(", ") },
        ...[...one.verdicts].map((letter, at) => {
            const verdict = letters[letter], bits = one.bits ? one.bits[at] : 0, changed = bits && before && bits !== before;
            before = bits || before;
            return element("i", {
                className: [verdict ? (isBadLetter(letter) ? "v-bad" : `v-${verdict}`) : "", changed ? "bits" : ""].join(" "),
                title: `${runs[at].time} ${runs[at].commit} ${runs[at].device}: ${verdict || "not in this run"}${changed ? ", other bits" : ""}`,
            });
        }));
}

function draw() {
    const list = byId("list"), made = [];
    const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - 5);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + 5);
    for (let i = first; i < last; i++) {
        const one = shown[i], row = element("div", { className: one === chosen ? "row chosen" : "row", role: "row", ariaRowIndex: i + 1 },
            element("span", { role: "gridcell", className: isBadLetter(one.verdicts.slice(-1)) ? "failed verdict" : "dim", textContent: one.events.join(", ") }),
            element("span", { role: "gridcell", className: "id", title: one.id, textContent: one.id.replace(/^grouped_gemm_/, "") }), marks(one));
        row.style.top = `${i * rowHeight}px`;
        row.onclick = () => { chosen = one; draw(); drawSide(); };
        made.push(row);
    }
    list.replaceChildren(byId("space"), ...made);
    byId("table").setAttribute("aria-rowcount", shown.length);
}

function select() {
    let matches;
    byId("filter").setAttribute("aria-invalid", "false");
    try {
        matches = compile(byId("filter").value);
    } catch (error) {
        byId("filter").setAttribute("aria-invalid", "true");
        byId("note").textContent = error.message;
        return;
    }
    shown = cases.filter((one) => matches(one.lowered) && (!wanted || one.events.includes(wanted)));
    byId("note").textContent = `${shown.length} of ${cases.length} cases, ${runs.length} runs, oldest first`;
    byId("space").style.height = `${shown.length * rowHeight}px`;
    draw();
}

/* Runs on one device are one line. */
function trend(name, yLabel, valueOf) {
    const points = runs.map((run, at) => ({ x: at + 1, y: valueOf(run, at), text: `${run.time} ${run.commit}: ${valueOf(run, at)}`, lane: `${run.device}, ${run.subject}` }))
        .filter((point) => Number.isFinite(point.y));
    if (!points.length) return [];
    const series = [...groupBy(points, (point) => point.lane)].map(([lane, group]) => ({ name: lane, line: true, points: group }));
    return [title(name), chart({ name, xLabel: "run", yLabel, series, logX: false, logY: false })];
}

function drawSide() {
    const side = byId("side"), bad = (run) => ["failed", "error", "mistrusted"].reduce((sum, verdict) => sum + (run.counts[verdict] || 0), 0);
    if (chosen) {
        const own = news.get(chosen.id) || {}, timed = chosen.ms || [];
        side.replaceChildren(element("button", { id: "close", type: "button", textContent: "\u00d7", ariaLabel: "close", onclick: () => { chosen = null; draw(); drawSide(); } }),
            element("h2", { textContent: chosen.id }), marks(chosen),
            element("div", { className: "why", textContent: chosen.message || "" }),
            facts([["now", chosen.events.join(", ")], ["failing since", own.since], ["runs in a row", own.runs], ["digest", own.digest], ["earlier digest", own.earlier && `${own.earlier} on ${own.when}`]]),
            ...(timed.length ? trend("kernel time", "ms", (_, at) => timed[at] || NaN) : []));
        return;
    }
    const rows = runs.map((run) => element("tr", {}, ...[run.time, run.commit, run.device, run.counts.passed || 0, bad(run), run.counts.skipped || 0, number(run.seconds, 1)]
        .map((value) => element("td", { textContent: value })))).reverse();
    side.replaceChildren(...trend("failures", "cases", bad), ...trend("passed", "cases", (run) => run.counts.passed || 0),
        ...trend("time of a run", "seconds", (run) => run.finished ? run.seconds : NaN), title("runs"),
        element("table", {}, element("tr", {}, ...["time", "commit", "device", "passed", "bad", "skipped", "seconds"]
            .map((head) => element("th", { scope: "col", className: "dim", textContent: head }))), ...rows));
}

function drawChips() {
    byId("chips").replaceChildren(...events.filter((event) => cases.some((one) => one.events.includes(event))).map((event) =>
        element("button", { type: "button", className: "chip", ariaPressed: !wanted || wanted === event, onclick: () => { wanted = wanted === event ? "" : event; drawChips(); select(); } },
            element("b", { textContent: cases.filter((one) => one.events.includes(event)).length }), ` ${event} in the newest run`)));
}

byId("filter").oninput = () => { byId("list").scrollTop = 0; select(); };
byId("list").onscroll = draw;
addEventListener("resize", draw);
drawChips();
select();
drawSide();
