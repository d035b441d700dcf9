/* case.js: the panel of one case: why it failed, where, how it repeated, and how to run it again. */

/* First row of each expert in the output, where that is known: rows for y and dx, equal blocks for dw. */
function expertStarts(d) {
    if (!d.experts) return [];
    const starts = [0];
    for (const size of d.experts) starts.push(starts[starts.length - 1] + (d.output === "dw" ? d.rows / d.experts.length : size));
    return d.output === "dx_reduced" ? [] : starts;
}

/* Lines of the tiles: they begin anew at each expert. */
function tileLines(result, d, starts) {
    const size = blocks(result);
    if (!size || d.output === "dx_reduced") return { rows: [], cols: [] };
    const high = d.output === "dw" ? size.n : size.m, wide = d.output === "y" ? size.n : size.k, rows = [], cols = [];
    for (let e = 0; e + 1 < starts.length; e++)
        for (let row = starts[e] + high; row < starts[e + 1]; row += high) rows.push(row);
    for (let col = wide; col < d.cols; col += wide) cols.push(col);
    return { rows, cols };
}

function blend(from, to, share) {
    const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const a = channels(from), b = channels(to);
    return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(",")})`;
}

/* The share of wrong elements in each cell of the output, rows downwards in expert order. */
function drawMap(result) {
    const d = result.difference, map = d.map, size = 416;
    const high = Math.round(size * Math.max(0.4, Math.min(1, d.rows / d.cols || 1))), wide = Math.round(size * Math.max(0.4, Math.min(1, d.cols / d.rows || 1)));
    const canvas = element("canvas", { id: "map", width: wide, height: high });
    const pen = canvas.getContext("2d"), right = color("--map-right"), wrong = color("--map-wrong");
    const shareAt = (row, col) => parseInt(map.cells.slice(2 * (row * map.cols + col), 2 * (row * map.cols + col) + 2), 16) / 255;
    for (let row = 0; row < map.rows; row++)
        for (let col = 0; col < map.cols; col++) {
            const x = Math.round(col * wide / map.cols), y = Math.round(row * high / map.rows), share = shareAt(row, col);
            /* a single wrong element must show */
            pen.fillStyle = share ? blend(right, wrong, 0.35 + 0.65 * share) : right;
            pen.fillRect(x, y, Math.round((col + 1) * wide / map.cols) - x, Math.round((row + 1) * high / map.rows) - y);
        }
    const starts = expertStarts(d), tiles = tileLines(result, d, starts);
    const horizontal = (row, width, alpha) => {
        pen.globalAlpha = alpha;
        pen.fillRect(0, Math.round(row / d.rows * high) - width / 2, wide, width);
    };
    pen.fillStyle = color("--map-lines");
    if (tiles.rows.length * 4 < high) for (const row of tiles.rows) horizontal(row, 1, 0.3);
    if (tiles.cols.length * 4 < wide)
        for (const col of tiles.cols) {
            pen.globalAlpha = 0.3;
            pen.fillRect(Math.round(col / d.cols * wide) - 0.5, 0, 1, high);
        }
    if (starts.length * 3 < high) for (const row of starts.slice(1, -1)) horizontal(row, 2, 0.9);
    pen.globalAlpha = 1;
    if (d.rows && d.worst_place !== undefined) { /* a ring around the worst element */
        pen.strokeStyle = color("--text");
        pen.lineWidth = 2;
        pen.beginPath();
        pen.arc((d.worst_col + 0.5) / d.cols * wide, (d.worst_place + 0.5) / d.rows * high, 8, 0, 7);
        pen.stroke();
    }
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `error map of ${d.output}: ${d.wrong} of ${d.compared} elements wrong, first at row ${d.row}, column ${d.col}`);
    const hover = element("div", { className: "hover", textContent: "rows in expert order; ring: the worst element; lines: experts, tiles" });
    canvas.onmousemove = (event) => {
        const box = canvas.getBoundingClientRect();
        const col = Math.min(map.cols - 1, Math.max(0, Math.floor((event.clientX - box.left - 1) / (box.width - 2) * map.cols)));
        const row = Math.min(map.rows - 1, Math.max(0, Math.floor((event.clientY - box.top - 1) / (box.height - 2) * map.rows)));
        const first = (at, cells, count) => Math.ceil(at * count / cells), span = (at, cells, count) => {
            const from = first(at, cells, count), to = first(at + 1, cells, count) - 1;
            return from === to ? `${from}` : `${from}-${to}`;
        };
        const expert = starts.findIndex((start, e) => start <= first(row, map.rows, d.rows) && first(row, map.rows, d.rows) < starts[e + 1]);
        const percent = 100 * shareAt(row, col);
        hover.textContent = `rows ${span(row, map.rows, d.rows)}, columns ${span(col, map.cols, d.cols)}${expert >= 0 ? `, expert ${expert}` : ""}: ` +
            (percent ? `${percent < 1 ? "under 1" : percent.toFixed(0)}% wrong` : "right");
    };
    const box = element("div", {}, canvas, hover);
    box.style.width = `${wide}px`;
    return box;
}

/* Elements by the size of their error, in powers of two of an ulp. */
function drawHistogram(ulps) {
    const width = 620, height = 110, bottom = 24, step = width / 16, most = Math.log1p(Math.max(...ulps));
    const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "elements by error in ulp" });
    ulps.forEach((count, i) => {
        const label = i === 0 ? "< 1/8" : i === 15 ? "\u2265 2048" : i < 4 ? ["", "1/4", "1/2", "1"][i] : String(2 ** (i - 3));
        const tall = count ? Math.max(2, Math.log1p(count) / most * (height - bottom - 16)) : 0;
        svg.append(svgElement("rect", { x: i * step + 2, y: height - bottom - tall, width: step - 4, height: tall,
            fill: i < 4 ? "var(--accent)" : "var(--failed)" }, svgElement("title", {}, `${label} ulp: ${count} elements`)));
        if (count) svg.append(svgElement("text", { x: (i + 0.5) * step, y: height - bottom - tall - 4, "text-anchor": "middle" },
            count < 1e4 ? String(count) : `${(count / 1000).toFixed(0)}k`));
        svg.append(svgElement("text", { x: (i + 0.5) * step, y: height - 8, "text-anchor": "middle" }, label));
    });
    return svg;
}

/* One mark a launch: what was different about it, and whether its bytes were the same. */
function drawStrip(result) {
    const differing = /differs between runs 1 and (\d+)(?:: \[(\d+), (\d+)\])?/.exec(result.message);
    const runs = result.runs || Array.from({ length: Math.max(result.repeats || 0, differing ? +differing[1] : 0) }, (_, i) =>
        ({ equal: !differing || i + 1 < +differing[1] }));
    if (!runs.length) return [];
    const strip = element("div", { className: "strip" }, ...runs.map((one, i) => {
        const differs = one.equal === false;
        const words = [`${i + 1}`, one.perturbation && one.perturbation !== "none" ? one.perturbation : "", differs ? "\u2260" : "="];
        return element("span", { className: differs ? "differs" : "", title: one.digest ? `digest ${one.digest}` : "", textContent: words.filter(Boolean).join(" ") });
    }));
    const where = differing && differing[2] !== undefined ? `first differing element: row ${differing[2]}, column ${differing[3]}, in launch ${differing[1]}` : "";
    return [title("determinism"), strip, element("div", { className: "dim", textContent: where })];
}

async function copyText(text, button) {
    try {
        await navigator.clipboard.writeText(text);
    } catch { /* no permission, or not offered to a file */
        const area = element("textarea", { value: text });
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
    }
    button.textContent = "copied";
}

/* What a baseline or the history says of this case. */
function sinceWhen(change) {
    if (!change) return [];
    const before = change.before || {};
    const words = [change.since && `failing since ${change.since}, ${change.runs} runs in a row`,
        change.earlier && `digest ${change.digest}, but ${change.earlier} on ${change.when} from the same kernel on the same data`,
        before.verdict && `baseline: ${before.verdict}`, before.digest && `digest ${before.digest}`,
        before.max_ulp !== undefined && `max ${number(before.max_ulp, 2)} ulp`, before.kernel_ms > 0 && `kernel ${number(before.kernel_ms, 4)} ms`];
    return [element("div", { className: "dim", textContent: words.filter(Boolean).join(", ") })];
}

// with the schedule that a fault on the simulator names
const simSeed = (result) => (/simulator seed (\d+)/.exec(result.message || "") || []).slice(1).map((seed) => ` --sim-seed ${seed}`).join("");
const reproLine = (run, result) => `${run.repro || "./run_tests.sh"}${simSeed(result)} '${result.id.replaceAll("'", "'\\''")}'`;

function fillCase(panel, run, result, close) {
    const d = result.difference, first = result.message.split("\n", 1)[0], rest = result.message.slice(first.length + 1);
    const copy = element("button", { className: "copy", type: "button", textContent: "copy", title: "copy the line (c)" });
    copy.onclick = () => copyText(reproLine(run, result), copy);
    panel.replaceChildren(
        element("button", { id: "close", type: "button", textContent: "\u00d7", ariaLabel: "close (Escape)", onclick: close }),
        element("h2", { textContent: result.id }),
        element("div", { className: `verdict ${result.verdict}`, textContent: [result.verdict, changesOf(result).join(", ")].filter(Boolean).join(": ") }),
        ...sinceWhen(result.change));
    if (first) panel.append(element("div", { className: "why", textContent: first }));
    if (rest) panel.append(element("pre", { textContent: rest }));
    panel.append(title("run it again"), element("div", { className: "repro" }, element("pre", { textContent: reproLine(run, result) }), copy));
    if (d) {
        const at = (row, col, expert) => `row ${row}, column ${col}${expert >= 0 ? `, expert ${expert}` : ""}`;
        const figures = facts([
            ["elements compared", d.compared], ["wrong", d.wrong],
            [d.wrong ? "first wrong" : "worst", at(d.row, d.col, d.expert)], ["expected", d.expected], ["got", d.got],
            ["worst", d.wrong && d.worst_row !== undefined ? `${at(d.worst_row, d.worst_col, -1)}: ${d.worst_got}, expected ${d.worst_expected}` : undefined],
            ["max ulp", number(d.max_ulp, 3)], ["mean ulp", number(d.mean_ulp, 4)], ["error / bound", number(d.bound_ratio, 3)],
            ["tile RMS / limit", number(d.tile_rms, 3)]]);
        panel.append(title(d.map ? `where ${d.output} is wrong` : `output ${d.output}`),
            element("div", { className: "where" }, ...(d.map ? [drawMap(result)] : []), figures));
        if (d.ulps && d.ulps.length) panel.append(title("error in ulp"), drawHistogram(d.ulps));
    }
    panel.append(...drawStrip(result), title("run"), facts([
        ["seconds", number(result.seconds, 3)], ["kernel ms", result.kernel_ms ? number(result.kernel_ms, 4) : undefined],
        ["launches compared", result.repeats || undefined], ["output digest", result.repeats ? result.digest : undefined],
        ["kernel digest", result.kernel], ["config", result.config], ["seed", run.seed]]));
}
