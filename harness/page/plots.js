/* plots.js: pictures in SVG: one chart of points and lines on logarithmic or linear axes; rooflines and scaling from it. */
const seriesColors = ["#2f7de1", "#d9641e", "#2a9d5c", "#9b4fc4", "#c2367a", "#8a7a16", "#1a93a5", "#7a5c48"];

/* Round numbers that cover low..high on an axis. */
function ticksOf(low, high, logarithmic) {
    const ticks = [];
    if (logarithmic) {
        for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) ticks.push(10 ** power);
        return ticks;
    }
    const raw = (high - low) / 5 || 1, base = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * base).find((size) => size >= raw);
    for (let at = Math.floor(low / step) * step; at < high + step; at += step) ticks.push(+at.toPrecision(6));
    return ticks;
}

/* series: [{ name, points: [{ x, y, text }], line }]; returns an <svg> with a legend and a title for each point. */
function chart({ name, xLabel, yLabel, series, logX = true, logY = true }) {
    const width = 620, height = 330, left = 62, right = 18, top = 12, bottom = 40;
    const all = series.flatMap((one) => one.points);
    const extent = (key) => [Math.min(...all.map((p) => p[key])), Math.max(...all.map((p) => p[key]))];
    const xTicks = ticksOf(...extent("x"), logX), yTicks = ticksOf(...(logY ? extent("y") : [0, extent("y")[1]]), logY);
    const scale = (ticks, logarithmic, from, to) => {
        const map = logarithmic ? Math.log10 : (value) => value;
        const low = map(ticks[0]), high = map(ticks[ticks.length - 1]);
        return (value) => from + (high > low ? (map(value) - low) / (high - low) : 0.5) * (to - from);
    };
    const x = scale(xTicks, logX, left, width - right), y = scale(yTicks, logY, height - bottom, top);
    const svg = svgElement("svg", { viewBox: `0 0 ${width} ${height + 18 * Math.ceil(series.length / 3)}`, role: "img", "aria-label": name });
    const say = (at, attributes) => svgElement("text", attributes, at);
    const short = (value) => value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : String(+value.toPrecision(6));
    for (const tick of xTicks) {
        svg.append(svgElement("line", { x1: x(tick), x2: x(tick), y1: top, y2: height - bottom, stroke: "var(--line)" }));
        svg.append(say(short(tick), { x: x(tick), y: height - bottom + 15, "text-anchor": "middle" }));
    }
    for (const tick of yTicks) {
        svg.append(svgElement("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "var(--line)" }));
        svg.append(say(short(tick), { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }));
    }
    svg.append(say(xLabel, { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }));
    svg.append(say(yLabel, { x: 0, y: 0, "text-anchor": "middle", transform: `translate(12 ${height / 2}) rotate(-90)` }));
    series.forEach((one, i) => {
        const stroke = one.color || seriesColors[i % seriesColors.length];
        const path = one.points.map((p, at) => `${at ? "L" : "M"}${x(p.x).toFixed(1)} ${y(p.y).toFixed(1)}`).join("");
        if (one.line) svg.append(svgElement("path", { d: path, fill: "none", stroke, "stroke-width": 1.6 }));
        if (!one.bare)
            for (const p of one.points)
                svg.append(svgElement("circle", { cx: x(p.x).toFixed(1), cy: y(p.y).toFixed(1), r: 3.2, fill: stroke },
                    svgElement("title", {}, `${one.name}: ${p.text}`)));
        const at = { x: left + (i % 3) * 185, y: height + 12 + 18 * Math.floor(i / 3) };
        svg.append(svgElement("rect", { x: at.x, y: at.y - 8, width: 12, height: 8, fill: stroke }));
        svg.append(say(one.name, { x: at.x + 17, y: at.y }));
    });
    return svg;
}

function groupBy(items, keyOf) {
    const groups = new Map();
    for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) || []), item]);
    return groups;
}

const positive = (value) => typeof value === "number" && Number.isFinite(value) && value > 0;

/* TFLOP/s over arithmetic intensity under the limits measured in the same run. */
function roofline(bench) {
    const usable = bench.filter((b) => positive(b.tflops) && positive(b.gbs));
    if (!usable.length) return [];
    const top = Math.max(0, ...usable.map((b) => b.peak_tflops).filter(positive));
    const bandwidth = Math.max(0, ...usable.map((b) => b.peak_gbs).filter(positive));
    const intensity = (b) => 1000 * b.tflops / b.gbs;
    const series = [...groupBy(usable, (b) => b.op || "bench")].map(([name, group]) => ({
        name, points: group.map((b) => ({
            x: intensity(b), y: b.tflops,
            text: `${b.shape || ""} ${number(b.us, 1)} us, ${number(b.tflops, 1)} TFLOP/s, ${number(b.gbs, 0)} GB/s`,
        })),
    }));
    if (top && bandwidth) {
        const ridge = 1000 * top / bandwidth, xs = usable.map(intensity);
        const at = [Math.min(ridge / 10, ...xs), ridge, Math.max(ridge * 10, ...xs)];
        series.push({ name: "limit", color: "var(--dim)", line: true, bare: true,
            points: at.map((x) => ({ x, y: Math.min(top, x * bandwidth / 1000), text: "" })) });
    }
    return [title("roofline"), chart({ name: "roofline", xLabel: "FLOP per byte", yLabel: "TFLOP/s", series })];
}

/* Time against x, a picture for each axis (tokens, experts) and model, in it a line a series. */
function scaling(bench) {
    const usable = bench.filter((b) => b.series && positive(b.x) && positive(b.us));
    return [...groupBy(usable, (b) => `time against ${b.axis || "size"}${b.model ? `, ${b.model}` : ""}`)].flatMap(([name, curves]) => {
        const series = [...groupBy(curves, (b) => b.series)].map(([one, group]) => ({
            name: one, line: true,
            points: group.sort((a, b) => a.x - b.x).map((b) => ({ x: b.x, y: b.us, text: `${b.x}: ${number(b.us, 1)} us${share(b) ? `, ${share(b)}% of the floor` : ""}` })),
        }));
        return [title(name), chart({ name, xLabel: curves[0].axis || "x", yLabel: "microseconds", series })];
    });
}

const share = (b) => positive(b.floor_share) ? number(100 * b.floor_share, 1) : "";
const ratio = (a, b) => positive(a) && positive(b) ? number(a / b, 3) : "";

/* Columns beyond the rates only where some row has them; a ratio is our time over the other's. */
function benchTable(bench) {
    const columns = [
        ["shape", (b) => b.shape], ["op", (b) => b.op], ["us", (b) => number(b.us, 1)], ["TFLOP/s", (b) => number(b.tflops, 1)],
        ["GB/s", (b) => number(b.gbs, 0)], ["% of floor", share], ["/ plain", (b) => ratio(b.us, b.plain_us)],
        ["/ cuBLAS grouped", (b) => ratio(b.us, b.cublas_grouped_us)], ["/ cuBLAS loop", (b) => ratio(b.us, b.cublas_loop_us)],
        ["/ torch", (b) => ratio(b.us, b.torch_us)], ["best peer", (b) => b.peer || ""], ["/ best peer", (b) => ratio(b.us, b.peer_us)],
        ["/ goal", (b) => ratio(b.us, b.goal_us)], ["config", (b) => b.config || ""], ["not timed", (b) => b.fault || ""],
    ].filter(([, text], at) => at < 5 || bench.some((b) => text(b)));
    const table = element("table", {}, element("tr", {}, ...columns.map(([head]) => element("th", { scope: "col", className: "dim", textContent: head }))));
    for (const b of bench)
        table.append(element("tr", {}, ...columns.map(([, text]) => element("td", { textContent: text(b) }))));
    return [title("benchmarks"), element("div", { className: "wide" }, table)];
}
