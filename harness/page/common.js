/* common.js: what every part of a page uses: elements made without ever parsing markup, numbers, colours. */
const byId = (name) => document.getElementById(name);
const lines = JSON.parse(byId("data").textContent);
/* worst first; the order of the chips and of the table too */
const verdicts = ["failed", "error", "mistrusted", "xfailed", "skipped", "passed"];
const isBad = (verdict) => verdicts.indexOf(verdict) < 3;

function element(name, properties, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
}

function svgElement(name, attributes, ...children) {
    const made = document.createElementNS(byId("mould").namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
}

const number = (value, digits) => typeof value === "number" ? value.toFixed(digits) : value === undefined ? "" : String(value);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const title = (text) => element("h3", { textContent: text });

/* A table of names and values; those without a value are left out. */
function facts(pairs) {
    const table = element("table");
    for (const [name, value] of pairs) {
        if (value === undefined || value === null || value === "") continue;
        table.append(element("tr", {}, element("th", { className: "dim", scope: "row", textContent: name }),
            element("td", { textContent: value })));
    }
    return table;
}

/* What an id says: function, flags, shape and tile; undefined for an id that is not of the case table. */
function parseId(id) {
    const match = /^grouped_gemm_(forward|backward_dX|backward_dW)(\w*)\[(.*)\]$/.exec(id);
    if (!match) return undefined;
    const words = match[3].split("-"), at = words.findIndex((word) => /^topk\d+$/.test(word));
    if (at < 1) return undefined;
    const dtype = words.findIndex((word) => word === "bf16" || word === "fp16");
    return {
        op: match[1].replace("backward_", ""), gemm: words[0], flags: words.slice(1, at),
        shape: words.slice(at, dtype), dist: words[dtype + 2],
        fusion: [match[1].replace("backward_", ""), ...words.slice(1, at)].join(" "),
        problem: [words[0], ...words.slice(at, dtype), words[dtype + 2]].join("-"),
    };
}

/* Block sizes of a case: in its id, or in the config that autotuning chose. */
function blocks(result) {
    const found = /-bm(\d+)-bn(\d+)-bk(\d+)/.exec(result.config || "") || /-bm(\d+)-bn(\d+)-bk(\d+)/.exec(result.id);
    return found ? { m: +found[1], n: +found[2], k: +found[3] } : undefined;
}
