/* filter.js: the grammar of -k (harness/filter.c is its twin): a predicate over lower-case ids, or an error thrown. */
const pythonKeywords = new Set(("False None True as assert async await break class continue def del elif else except finally for from " +
    "global if import in is lambda nonlocal not or and pass raise return try while with yield").split(" "));

function compile(text) {
    const source = text.replace(/^(?:(?!\ufeff)\s|[\x1c-\x1f\x85])+/u, "") /* what Python strips */;
    const maxDepth = 256;
    let position = 0, token, depth = 0, calls = false;
    /* columns count characters, not UTF-16 units */
    const faultAt = (at, what) => new Error(
        `Wrong expression passed to '-k': ${source}: at column ${[...source.slice(0, at)].length + 1}: ${what}`);
    const fault = (what) => faultAt(token.at, what);
    const unexpected = (expected) => fault(`expected ${expected}; got ${token.kind}`);
    const singles = { "(": "left parenthesis", ")": "right parenthesis", "=": "=", ",": "," };
    const word = /[\p{L}\p{N}_:+\-.[\]\\/]+/uy;
    function advance() {
        while (source[position] === " " || source[position] === "\t") position++;
        token = { kind: "end of input", at: position, text: "" };
        const first = source[position];
        if (first === undefined) return;
        if (singles[first]) {
            token.kind = singles[first];
            position++;
            return;
        }
        if (first === "'" || first === '"') {
            const close = source.indexOf(first, position + 1);
            if (close < 0) throw fault(`closing quote "${first}" is missing`);
            const backslash = source.slice(position, close).indexOf("\\");
            if (backslash >= 0) throw faultAt(position + backslash, 'escaping with "\\" not supported in marker expression');
            token.kind = "string literal";
            position = close + 1;
            return;
        }
        word.lastIndex = position;
        const match = word.exec(source);
        if (!match) throw fault(`unexpected character "${String.fromCodePoint(source.codePointAt(position))}"`);
        token.kind = ["and", "or", "not"].includes(match[0]) ? match[0] : "identifier";
        token.text = match[0];
        position += match[0].length;
    }
    function accept(kind) {
        if (token.kind !== kind) return false;
        advance();
        return true;
    }
    function expect(kind) {
        if (!accept(kind)) throw unexpected(kind);
    }
    /* name=value inside the parentheses of a call: it must parse, and is refused then */
    function argument() {
        if (token.kind !== "identifier") throw unexpected("identifier");
        const name = token;
        advance();
        if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name.text)) throw faultAt(name.at, `not a valid python identifier ${name.text}`);
        if (pythonKeywords.has(name.text)) throw faultAt(name.at, `unexpected reserved python keyword \`${name.text}\``);
        expect("=");
        if (accept("string literal")) return;
        if (token.kind !== "identifier") throw unexpected("identifier");
        const value = token;
        advance();
        if (!/^(-?\d+|True|False|None)$/.test(value.text)) throw faultAt(value.at, `unexpected character/s "${value.text}"`);
    }
    function operand() {
        if (token.kind === "left parenthesis") {
            if (depth++ === maxDepth) throw fault(`more than ${maxDepth} parentheses deep`);
            advance();
            const inner = either();
            expect("right parenthesis");
            depth--;
            return inner;
        }
        if (token.kind !== "identifier") throw unexpected("not OR left parenthesis OR identifier");
        const wanted = token.text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
        advance();
        if (token.kind === "left parenthesis") {
            calls = true;
            do {
                advance();
                argument();
            } while (token.kind === ",");
            expect("right parenthesis");
        }
        return (id) => id.includes(wanted);
    }
    function negation() {
        let negated = false;
        while (accept("not")) negated = !negated;
        const inner = operand();
        return negated ? (id) => !inner(id) : inner;
    }
    function chain(operator, next, join) {
        let left = next();
        while (accept(operator)) left = join(left, next());
        return left;
    }
    function both() {
        return chain("and", negation, (a, b) => (id) => a(id) && b(id));
    }
    function either() {
        return chain("or", both, (a, b) => (id) => a(id) || b(id));
    }
    if (source === "") return () => true;
    advance();
    const matches = either();
    if (token.kind !== "end of input") throw unexpected("end of input");
    if (calls) throw new Error("Keyword expressions do not support call parameters.");
    return matches;
}
