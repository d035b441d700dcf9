/* overview.js: what stands beside the table while no case is open: what the failures share, and the fusion x shape grid. */

/* A -k expression that selects the cases of one fusion; ids name a flag only when it is set. */
const flagWords = ["permute_x", "permute_y", "fuse_mul_post", "use_tma_load_x", "use_tma_load_w", "use_tma_load_dy", "use_tma_store", "copy_rows"];
function fusionFilter(fusion) {
    const words = fusion.split(" ");
    const absent = flagWords.filter((word) => !words.includes(word));
    const terms = [...words];
    if (absent.some((word) => !word.includes("_tma_"))) terms.push(...absent.filter((w) => !w.includes("_tma_")).map((w) => `not ${w}`));
    const tma = absent.filter((word) => word.includes("_tma_"));
    if (tma.length === 4) terms.push("not tma");
    else terms.push(...tma.map((w) => `not ${w}`));
    return terms.join(" and ");
}
/* "W1-topk4-E16-T128-H32-I32-mult": the dashes around make each parameter exact */
function problemFilter(problem) {
    const words = problem.split("-");
    return `[${words[0]}- and -${words.slice(1, -1).join("-")}- and -${words[words.length - 1]}`;
}

/* Words of ids that most failures have and most passes have not, best first. */
function sharedWords(results) {
    const bad = results.filter((r) => isBad(r.verdict)), counts = new Map();
    const count = (list, at) => {
        for (const r of list)
            for (const word of new Set(r.id.split(/[[\]-]/)))
                if (word) (counts.get(word) || counts.set(word, [0, 0]).get(word))[at]++;
    };
    const ran = results.filter((r) => r.verdict !== "skipped");
    count(bad, 0);
    count(ran, 1);
    return [...counts].map(([word, [wrong, all]]) => ({ word, wrong, all, share: wrong / bad.length }))
        .filter((one) => one.share >= 0.8 && bad.length > 1 && one.wrong / one.all >= 2 * bad.length / ran.length)
        .sort((a, b) => b.wrong / b.all - a.wrong / a.all || b.wrong - a.wrong || (a.word < b.word ? -1 : 1)).slice(0, 5);
}

function drawShared(results, setFilter) {
    const bad = results.filter((r) => isBad(r.verdict)).length, words = sharedWords(results);
    if (!words.length) return [];
    const chips = words.map(({ word, wrong, all }) => element("button", {
        className: "chip", type: "button", onclick: () => setFilter(word),
    }, element("b", { textContent: word }), ` ${wrong} of ${bad} failures, ${wrong} of its ${all} cases`));
    return [title("what the failures share"), element("div", { className: "chips" }, ...chips)];
}

/* One row a fusion, one column a problem; a cell has the colour of the worst verdict in it. */
function drawMatrix(results, matches, setFilter) {
    const parsed = results.map((result) => ({ result, id: parseId(result.id) })).filter(({ id }) => id);
    if (!parsed.length) return [];
    const distinct = (key) => [...new Set(parsed.map(({ id }) => id[key]))];
    const ops = ["forward", "dX", "dW"], rank = (fusion) => ops.indexOf(fusion.split(" ")[0]);
    const fusions = distinct("fusion").sort((a, b) => rank(a) - rank(b)), problems = distinct("problem");
    const rowOf = new Map(fusions.map((fusion, i) => [fusion, i])), columnOf = new Map(problems.map((problem, i) => [problem, i]));
    const cells = new Map();
    for (const { result, id } of parsed) {
        const at = rowOf.get(id.fusion) * problems.length + columnOf.get(id.problem);
        const cell = cells.get(at) || cells.set(at, { counts: {}, seen: false, worst: verdicts.length - 1 }).get(at);
        cell.counts[result.verdict] = (cell.counts[result.verdict] || 0) + 1;
        cell.worst = Math.min(cell.worst, verdicts.indexOf(result.verdict));
        cell.seen = cell.seen || matches(result);
    }
    const rowHeight = 13, columnWidth = Math.max(4, Math.min(16, Math.floor(430 / problems.length)));
    const ratio = window.devicePixelRatio || 1;
    const canvas = element("canvas", { id: "grid", width: problems.length * columnWidth * ratio, height: fusions.length * rowHeight * ratio });
    canvas.style.maxWidth = `${problems.length * columnWidth}px`;
    canvas.setAttribute("role", "img");
    const bad = fusions.filter((fusion, row) => problems.some((_, column) => (cells.get(row * problems.length + column) || {}).worst < 3));
    canvas.setAttribute("aria-label", `${fusions.length} fusions by ${problems.length} shapes; failures in: ${bad.join(", ") || "none"}`);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const fills = verdicts.map((verdict) => color(verdict === "passed" || verdict === "skipped" ? `--cell-${verdict}` : `--${verdict}`));
    for (const [at, cell] of cells) {
        const row = Math.floor(at / problems.length), column = at % problems.length;
        pen.globalAlpha = cell.seen ? 1 : 0.2;
        pen.fillStyle = fills[cell.worst];
        pen.fillRect(column * columnWidth, row * rowHeight, columnWidth - 1, rowHeight - 1);
    }
    const hover = element("div", { className: "hover" });
    const cellAt = (event) => {
        const box = canvas.getBoundingClientRect();
        const column = Math.floor((event.clientX - box.left) / box.width * problems.length);
        const row = Math.floor((event.clientY - box.top) / box.height * fusions.length);
        return { fusion: fusions[row], problem: problems[column], cell: cells.get(row * problems.length + column) };
    };
    canvas.onmousemove = (event) => {
        const { fusion, problem, cell } = cellAt(event);
        hover.textContent = fusion && problem ? `${fusion} \u00d7 ${problem}: ` +
            (cell ? verdicts.filter((v) => cell.counts[v]).map((v) => `${cell.counts[v]} ${v}`).join(", ") : "no cases") : "";
    };
    canvas.onclick = (event) => {
        const { fusion, problem, cell } = cellAt(event);
        if (cell) setFilter(`${fusionFilter(fusion)} and ${problemFilter(problem)}`);
    };
    const labels = element("div", { className: "labels" }, ...fusions.map((fusion, row) => element("button", {
        type: "button", className: bad.includes(fusion) ? "failed" : "", title: fusion, onclick: () => setFilter(fusionFilter(fusion)),
        textContent: fusion.replace(/use_tma_/g, "tma_").replace(/load_/g, ""),
    })));
    return [title("fusion \u00d7 shape"), element("div", { className: "matrix" }, labels, canvas), hover];
}

function drawEnvironment(run, end) {
    const device = run.device || {};
    return [title("environment"), facts([
        ["device", device.name], ["compute capability", device.cc && `${Math.floor(device.cc / 10)}.${device.cc % 10}`],
        ["multiprocessors", device.sm_count], ["driver", device.driver], ["compiler", device.compiler], ["backend", run.backend],
        ["subject", run.subject], ["commit", run.commit], ["workers", run.workers], ["seed", run.seed],
        ["deselected", run.deselected], ["seconds", end && number(end.seconds, 1)]])];
}
