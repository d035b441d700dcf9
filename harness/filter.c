/* filter.c: compiles a -k expression into a short program of substring tests and jumps, and runs it on ids.
 *
 *   expression: expr? end             and_expr: not_expr ('and' not_expr)*
 *   expr: and_expr ('or' and_expr)*   not_expr: 'not' not_expr | '(' expr ')' | identifier call?
 * Tokens are read one ahead, so that of two mistakes the same one is reported as pytest reports. */
#include "filter.h"

#include <ctype.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

/* Parentheses within parentheses; pytest gives up with an internal error a little above 300. */
enum { MAX_DEPTH = 256 };

#define TOKENS(X)                                                                                            \
    X(LPAREN, "left parenthesis")                                                                            \
    X(RPAREN, "right parenthesis")                                                                           \
    X(OR, "or")                                                                                              \
    X(AND, "and")                                                                                            \
    X(NOT, "not")                                                                                            \
    X(IDENTIFIER, "identifier")                                                                              \
    X(END, "end of input")                                                                                   \
    X(EQUAL, "=")                                                                                            \
    X(STRING, "string literal")                                                                              \
    X(COMMA, ",")

typedef enum token {
#define X(name, text) name,
    TOKENS(X)
#undef X
} token;

static const char *const token_names[] = {
#define X(name, text) [name] = text,
    TOKENS(X)
#undef X
};

/* The program works on one truth value: the last test's. */
typedef enum step_kind { TEST, NEGATE, JUMP_IF_FALSE, JUMP_IF_TRUE } step_kind;

typedef struct step {
    step_kind kind;
    size_t target;    /* of a jump */
    const char *word; /* of a test, in lower case */
} step;

struct mg_filter {
    step *steps;
    size_t num_steps;
    char *words; /* behind steps[].word */
};

typedef struct parser {
    mg_filter *filter;
    char *next_word;
    const char *text;  /* the expression without leading white space */
    const char *start; /* of the current token */
    const char *end;   /* one past it: where the next one is read */
    token current;
    unsigned depth;
    bool calls;    /* an identifier was called */
    locale_t utf8; /* Unicode's classes; 0 where the system has none */
    char *error;
} parser;

/* --- characters --- */

/* Decodes one UTF-8 character; a byte that belongs to none counts as a character of its own, a lone surrogate
 * as Python has it. Returns the bytes taken. */
static size_t decode(const char *s, uint32_t *character) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *u = (const unsigned char *)s;
    size_t length = u[0] < 0x80 ? 1 : u[0] >> 5 == 6 ? 2 : u[0] >> 4 == 14 ? 3 : u[0] >> 3 == 30 ? 4 : 0;
    uint32_t value = length == 1 ? u[0] : u[0] & (0x7f >> length);
    for (size_t i = 1; i < length; i++) {
        if (u[i] >> 6 != 2) length = 0;
        value = value << 6 | (u[i] & 63);
    }
    if (!length || value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        *character = 0xdc00u + u[0];
        return 1;
    }
    *character = value;
    return length;
}

static bool is_space(uint32_t c) { /* what Python's lstrip takes off */
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

static bool is_word(const parser *p, uint32_t c) { /* \w */
    if (c < 0x80) return isalnum((int)c) || c == '_';
    if (c >= 0xd800 && c < 0xe000) return false;
    return p->utf8 ? iswalnum_l((wint_t)c, p->utf8) : true;
}

static bool is_identifier_character(const parser *p, uint32_t c) {
    return (c && c < 0x80 && strchr(":+-.[]\\/", (int)c)) || is_word(p, c);
}

void mg_filter_lower(char *text) {
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z') *text += 'a' - 'A';
}

/* --- tokens --- */

/* Reports a fault at `where`; always false. An overlong expression is cut, lest the message be lost behind
 * it. */
static bool reject(parser *p, const char *where, const char *format, ...) {
    char message[160];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t column = 1;
    uint32_t c;
    for (const char *s = p->text; s < where; s += decode(s, &c)) column++;
    bool cut = strlen(p->text) > 260;
    snprintf(p->error, MG_ERROR_SIZE, "Wrong expression passed to '-k': %.*s%s: at column %zu: %s",
             cut ? 257 : 260, p->text, cut ? "..." : "", column, message);
    return false;
}

static bool unexpected(parser *p, const char *expected) {
    return reject(p, p->start, "expected %s; got %s", expected, token_names[p->current]);
}

static int token_length(const parser *p) {
    ptrdiff_t length = p->end - p->start;
    return length > 100 ? 100 : (int)length; /* of a message: %.*s */
}

static bool is_token(const parser *p, const char *text) {
    return strlen(text) == (size_t)(p->end - p->start) && !memcmp(p->start, text, strlen(text));
}

static bool advance(parser *p) {
    const char *s = p->end;
    s += strspn(s, " \t");
    p->start = s;
    static const struct {
        char character;
        token token;
    } single[] = {{'(', LPAREN}, {')', RPAREN}, {'=', EQUAL}, {',', COMMA}};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (*s == single[i].character) {
            p->end = s + 1;
            p->current = single[i].token;
            return true;
        }
    if (!*s) {
        p->end = s;
        p->current = END;
        return true;
    }
    if (*s == '\'' || *s == '"') {
        const char *close = strchr(s + 1, *s);
        if (!close) return reject(p, s, "closing quote \"%c\" is missing", *s);
        const char *backslash = memchr(s, '\\', (size_t)(close - s));
        if (backslash) return reject(p, backslash, "escaping with \"\\\" not supported in marker expression");
        p->end = close + 1;
        p->current = STRING;
        return true;
    }
    uint32_t c;
    size_t length;
    while (length = decode(s, &c), is_identifier_character(p, c)) s += length;
    if (s == p->start) return reject(p, s, "unexpected character \"%.*s\"", (int)length, s);
    p->end = s;
    p->current = is_token(p, "or") ? OR : is_token(p, "and") ? AND : is_token(p, "not") ? NOT : IDENTIFIER;
    return true;
}

static bool expect(parser *p, token wanted) {
    return p->current == wanted ? advance(p) : unexpected(p, token_names[wanted]);
}

/* --- arguments of a call: they must parse, and are refused then --- */

static bool is_python_identifier(const parser *p) {
    uint32_t c;
    for (const char *s = p->start; s < p->end; s += decode(s, &c)) {
        decode(s, &c);
        if (!is_word(p, c) || (s == p->start && c < 0x80 && isdigit((int)c))) return false;
    }
    return true;
}

static bool is_python_keyword(const parser *p) {
    static const char *const keywords[] = {
        "False",    "None",     "True",   "as",     "assert", "async", "await",  "break",
        "class",    "continue", "def",    "del",    "elif",   "else",  "except", "finally",
        "for",      "from",     "global", "if",     "import", "in",    "is",     "lambda",
        "nonlocal", "pass",     "raise",  "return", "try",    "while", "with",   "yield"};
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (is_token(p, keywords[i])) return true;
    return false;
}

static bool is_python_value(const parser *p) {
    const char *s = p->start + (*p->start == '-');
    if (s < p->end && s + strspn(s, "0123456789") >= p->end) return true;
    return is_token(p, "True") || is_token(p, "False") || is_token(p, "None");
}

static bool parse_argument(parser *p) {
    if (p->current != IDENTIFIER) return unexpected(p, token_names[IDENTIFIER]);
    const char *name = p->start;
    int length = token_length(p);
    bool identifier = is_python_identifier(p), keyword = is_python_keyword(p);
    if (!advance(p)) return false;
    if (!identifier) return reject(p, name, "not a valid python identifier %.*s", length, name);
    if (keyword) return reject(p, name, "unexpected reserved python keyword `%.*s`", length, name);
    if (!expect(p, EQUAL)) return false;
    if (p->current == STRING) return advance(p);
    if (p->current != IDENTIFIER) return unexpected(p, token_names[IDENTIFIER]);
    const char *value = p->start;
    length = token_length(p);
    bool known = is_python_value(p);
    if (!advance(p)) return false;
    return known || reject(p, value, "unexpected character/s \"%.*s\"", length, value);
}

static bool parse_call(parser *p) {
    p->calls = true;
    do
        if (!advance(p) || !parse_argument(p)) return false;
    while (p->current == COMMA);
    return expect(p, RPAREN);
}

/* --- expressions --- */

static step *emit(parser *p, step_kind kind) {
    step *s = &p->filter->steps[p->filter->num_steps++];
    *s = (step){.kind = kind};
    return s;
}

static bool parse_expr(parser *p);

static bool parse_identifier(parser *p) {
    size_t length = (size_t)(p->end - p->start);
    memcpy(p->next_word, p->start, length);
    p->next_word[length] = 0;
    mg_filter_lower(p->next_word);
    emit(p, TEST)->word = p->next_word;
    p->next_word += length + 1;
    if (!advance(p)) return false;
    return p->current == LPAREN ? parse_call(p) : true;
}

static bool parse_not(parser *p) {
    bool negated = false;
    for (; p->current == NOT; negated = !negated)
        if (!advance(p)) return false;
    if (p->current == LPAREN) {
        if (p->depth++ == MAX_DEPTH) return reject(p, p->start, "more than %d parentheses deep", MAX_DEPTH);
        if (!advance(p) || !parse_expr(p) || !expect(p, RPAREN)) return false;
        p->depth--;
    } else if (p->current == IDENTIFIER) {
        if (!parse_identifier(p)) return false;
    } else {
        return unexpected(p, "not OR left parenthesis OR identifier");
    }
    if (negated) emit(p, NEGATE);
    return true;
}

/* operand (operator operand)*: the first operand that decides jumps over the next one, where the next jump
 * waits. */
static bool parse_chain(parser *p, token operator, step_kind jump, bool (*operand)(parser *)) {
    if (!operand(p)) return false;
    while (p->current == operator) {
        step *decided = emit(p, jump);
        if (!advance(p) || !operand(p)) return false;
        decided->target = p->filter->num_steps;
    }
    return true;
}

static bool parse_and(parser *p) { return parse_chain(p, AND, JUMP_IF_FALSE, parse_not); }
static bool parse_expr(parser *p) { return parse_chain(p, OR, JUMP_IF_TRUE, parse_and); }

/* --- interface --- */

void mg_filter_free(mg_filter *filter) {
    if (!filter) return;
    free(filter->steps);
    free(filter->words);
    free(filter);
}

gg_status mg_filter_new(mg_filter **out, const char *expression, char error[MG_ERROR_SIZE]) {
    *out = NULL;
    gg_status status = GG_ERR_MEMORY;
    snprintf(error, MG_ERROR_SIZE, "out of memory for the -k expression");
    uint32_t c;
    const char *text = expression ? expression : "";
    for (size_t length; length = decode(text, &c), is_space(c); text += length) {}
    parser p = {
        .text = text, .end = text, .error = error, .utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0)};

    /* every token has a character and gives at most one step; words are separated by at least one */
    p.filter = calloc(1, sizeof *p.filter);
    if (!p.filter) goto out;
    p.filter->steps = calloc(strlen(text) + 1, sizeof *p.filter->steps);
    p.filter->words = p.next_word = malloc(strlen(text) + 1);
    if (!p.filter->steps || !p.filter->words) goto out;

    status = GG_ERR_ARGUMENT;
    if (*text && (!advance(&p) || !parse_expr(&p) || !expect(&p, END))) goto out;
    if (p.calls) {
        snprintf(error, MG_ERROR_SIZE, "Keyword expressions do not support call parameters.");
        goto out;
    }
    *out = p.filter;
    p.filter = NULL;
    error[0] = 0;
    status = GG_OK;
out:
    mg_filter_free(p.filter);
    if (p.utf8) freelocale(p.utf8);
    return status;
}

bool mg_filter_matches(const mg_filter *filter, const char *lowered) {
    bool truth = true; /* of an empty expression */
    for (size_t i = 0; i < filter->num_steps;) {
        const step *s = &filter->steps[i++];
        switch (s->kind) {
        case TEST: truth = strstr(lowered, s->word) != NULL; break;
        case NEGATE: truth = !truth; break;
        case JUMP_IF_FALSE:
            if (!truth) i = s->target;
            break;
        case JUMP_IF_TRUE:
            if (truth) i = s->target;
            break;
        }
    }
    return truth;
}
