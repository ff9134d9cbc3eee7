/* Formulas over series: a recursive descent parser to postfix, and its evaluation on a small stack. Bounded in
 * depth, operands and metrics; it must never read beyond what it was given or yield a number that is none. */
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../config/units.h"
#include "formula.h"

#define DEPTH_MOST 32

struct parser {
    const char *text, *at;
    struct formula *out;
    struct as_error *err;
    int depth;
};

static bool expression(struct parser *p);

__attribute__((format(printf, 2, 3))) static bool wrong(struct parser *p, const char *fmt, ...)
{
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    as_fail(p->err, AS_EINVAL, "character %td: %s", p->at - p->text + 1, text);
    return false;
}

static void skip(struct parser *p)
{
    while (*p->at == ' ' || *p->at == '\t')
        p->at++;
}

static bool accept(struct parser *p, char c)
{
    skip(p);
    if (*p->at != c)
        return false;
    p->at++;
    return true;
}

static struct formula_op *emit(struct parser *p, enum formula_op_kind kind)
{
    static struct formula_op none;
    if (p->out->count == FORMULA_OPS) {
        wrong(p, "the formula is too long (at most %d operations)", FORMULA_OPS);
        return NULL;
    }
    struct formula_op *op = &p->out->ops[p->out->count++];
    *op = none;
    op->kind = kind;
    return op;
}

/* --- names ------------------------------------------------------------------------------------------ */

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.' || c == ':' || c == '/' || c == '@';
}

/* A name: letters, digits, _ . and, inside, - : / @. */
static size_t name_length(const char *at)
{
    size_t n = 0;
    if (!isalpha((unsigned char)*at) && *at != '_')
        return 0;
    while (name_char(at[n]))
        n++;
    while (n && !isalnum((unsigned char)at[n - 1]) && at[n - 1] != '_')
        n--;
    return n;
}

static int metric_index(struct parser *p, const char *name, size_t n)
{
    struct formula *f = p->out;
    if (n >= FORMULA_METRIC_MAX) {
        wrong(p, "the name is too long");
        return -1;
    }
    for (int k = 0; k < f->metric_count; k++)
        if (strlen(f->metrics[k]) == n && memcmp(f->metrics[k], name, n) == 0)
            return k;
    if (f->metric_count == FORMULA_METRICS) {
        wrong(p, "more than %d different metrics", FORMULA_METRICS);
        return -1;
    }
    memcpy(f->metrics[f->metric_count], name, n);
    f->metrics[f->metric_count][n] = '\0';
    return f->metric_count++;
}

static bool read_metric(struct parser *p, enum as_aggregate aggregate, double q, as_time window)
{
    skip(p);
    size_t n = name_length(p->at);
    if (n == 0)
        return wrong(p, "a metric is expected here");
    int metric = metric_index(p, p->at, n);
    struct formula_op *op = metric < 0 ? NULL : emit(p, FORMULA_READ);
    if (!op)
        return false;
    op->metric = metric;
    op->aggregate = aggregate;
    op->number = q;
    op->window = window;
    p->at += n;
    return true;
}

/* --- functions --------------------------------------------------------------------------------------- */

static bool window_of(struct parser *p, as_time *out)
{
    char text[32];
    skip(p);
    size_t n = strspn(p->at, "0123456789.mshd");
    if (n == 0 || n >= sizeof text)
        return wrong(p, "a window is expected here, like 30s");
    memcpy(text, p->at, n);
    text[n] = '\0';
    if (!units_duration(text, out) || *out <= 0 || *out > AS_DAY)
        return wrong(p, "'%s' is no window from 1ms to 1d, like 30s", text);
    p->at += n;
    return true;
}

static bool function_over_window(struct parser *p, enum as_aggregate aggregate, double q)
{
    as_time window;
    if (!read_metric(p, aggregate, q, 0))
        return false;
    struct formula_op *op = &p->out->ops[p->out->count - 1];
    if (!accept(p, ','))
        return wrong(p, "a window is missing: write (METRIC, 30s)");
    if (!window_of(p, &window))
        return false;
    op->window = window;
    if (window > p->out->longest)
        p->out->longest = window;
    return accept(p, ')') || wrong(p, "')' is missing");
}

/* After "max(" : does a metric and a window follow, and nothing else? */
static bool looks_windowed(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    size_t n = name_length(at);
    if (n == 0)
        return false;
    at += n;
    at += strspn(at, " \t");
    if (*at != ',')
        return false;
    at++;
    at += strspn(at, " \t");
    n = strspn(at, "0123456789.");
    return n > 0 && isalpha((unsigned char)at[n]);
}

static bool smallest_or_largest(struct parser *p, enum formula_op_kind kind)
{
    int operands = 0;
    if (looks_windowed(p->at))
        return function_over_window(p, kind == FORMULA_MIN ? AS_MIN : AS_MAX, 0);
    do {
        if (!expression(p))
            return false;
        operands++;
    } while (accept(p, ','));
    if (!accept(p, ')'))
        return wrong(p, "')' is missing");
    struct formula_op *op = emit(p, kind);
    if (op)
        op->count = operands;
    return op != NULL;
}

static bool function(struct parser *p, const char *name, size_t n)
{
    p->at += n;
    accept(p, '(');
    if (n == 3 && memcmp(name, "avg", 3) == 0)
        return function_over_window(p, AS_MEAN, 0);
    if (n == 4 && memcmp(name, "rate", 4) == 0)
        return function_over_window(p, AS_RATE, 0);
    if (n == 3 && memcmp(name, "min", 3) == 0)
        return smallest_or_largest(p, FORMULA_MIN);
    if (n == 3 && memcmp(name, "max", 3) == 0)
        return smallest_or_largest(p, FORMULA_MAX);
    if (name[0] == 'p' && (n == 2 || n == 3) && isdigit((unsigned char)name[1]) && name[1] != '0' &&
        (n == 2 || isdigit((unsigned char)name[2])))
        return function_over_window(p, AS_QUANTILE, atoi(name + 1) / 100.0);
    p->at = name;
    return wrong(p, "there is no function '%.*s': there are avg, min, max, p1 to p99 and rate",
                 (int)(n < 40 ? n : 40), name);
}

/* --- expressions -------------------------------------------------------------------------------------- */

static bool number(struct parser *p)
{
    char *end;
    double v = strtod(p->at, &end);
    if (!isfinite(v) || name_char(*end))
        return wrong(p, "this is no number");
    struct formula_op *op = emit(p, FORMULA_NUMBER);
    if (!op)
        return false;
    op->number = v;
    p->at = end;
    return true;
}

static bool factor(struct parser *p)
{
    skip(p);
    if (*p->at == '-') {
        p->at++;
        if (++p->depth > DEPTH_MOST)
            return wrong(p, "too deep");
        bool ok = factor(p) && emit(p, FORMULA_NEG);
        p->depth--;
        return ok;
    }
    if (accept(p, '('))
        return expression(p) && (accept(p, ')') || wrong(p, "')' is missing"));
    if (isdigit((unsigned char)*p->at) || (*p->at == '.' && isdigit((unsigned char)p->at[1])))
        return number(p);
    size_t n = name_length(p->at);
    if (n == 0)
        return *p->at ? wrong(p, "a metric, a number or '(' is expected here, not '%c'",
                              isprint((unsigned char)*p->at) ? *p->at : '?')
                      : wrong(p, "the formula ends too early");
    if (p->at[n + strspn(p->at + n, " \t")] == '(')
        return function(p, p->at, n);
    return read_metric(p, AS_LAST, 0, 0);
}

static bool chain(struct parser *p, bool (*operand)(struct parser *), const char *signs,
                  const enum formula_op_kind *kinds)
{
    if (!operand(p))
        return false;
    for (;;) {
        skip(p);
        const char *sign = *p->at ? strchr(signs, *p->at) : NULL;
        if (!sign)
            return true;
        p->at++;
        if (!operand(p) || !emit(p, kinds[sign - signs]))
            return false;
    }
}

static bool term(struct parser *p)
{
    static const enum formula_op_kind kinds[] = { FORMULA_MUL, FORMULA_DIV };
    return chain(p, factor, "*/", kinds);
}

static bool expression(struct parser *p)
{
    static const enum formula_op_kind kinds[] = { FORMULA_ADD, FORMULA_SUB };
    if (++p->depth > DEPTH_MOST)
        return wrong(p, "too many parentheses");
    bool ok = chain(p, term, "+-", kinds);
    p->depth--;
    return ok;
}

int formula_parse(const char *text, struct formula *out, struct as_error *err)
{
    struct as_error mine = { 0 };
    struct formula f = { .count = 0 };
    struct parser p = { .text = text, .at = text, .out = &f, .err = err ? err : &mine };
    if (!expression(&p))
        return AS_EINVAL;
    skip(&p);
    if (*p.at) {
        wrong(&p, "'%c' is not expected here", isprint((unsigned char)*p.at) ? *p.at : '?');
        return AS_EINVAL;
    }
    if (f.metric_count == 0) {
        p.at = text;
        wrong(&p, "the formula names no metric");
        return AS_EINVAL;
    }
    *out = f;
    return AS_OK;
}

bool formula_is_plain(const struct formula *f)
{
    return f->count == 1 && f->ops[0].kind == FORMULA_READ && f->ops[0].aggregate == AS_LAST;
}

/* --- evaluation ---------------------------------------------------------------------------------------- */

static double fold(const struct formula_op *op, const double *v)
{
    double best = v[0];
    for (int k = 1; k < op->count; k++)
        best = op->kind == FORMULA_MIN ? (v[k] < best ? v[k] : best) : (v[k] > best ? v[k] : best);
    return best;
}

static double apply(enum formula_op_kind kind, double a, double b)
{
    return kind == FORMULA_ADD ? a + b : kind == FORMULA_SUB ? a - b : kind == FORMULA_MUL ? a * b : a / b;
}

/* Worst of all inputs: the least fresh, the oldest, partial when any is. False when one has no data. */
static bool take(const struct formula_op *op, const struct as_series *s, as_time now, struct as_reading *out,
                 double *v)
{
    struct as_reading r = as_series_read(s, now, op->aggregate, op->window, op->number);
    if (r.fresh < out->fresh)
        out->fresh = r.fresh;
    out->partial = out->partial || r.partial;
    out->age = r.age > out->age ? r.age : out->age;
    out->samples += r.samples;
    *v = r.value;
    return r.fresh == AS_FRESH;
}

struct as_reading formula_eval(const struct formula *f, const struct as_series *const *inputs, as_time now)
{
    double stack[FORMULA_OPS] = { 0 };
    int n = 0;
    struct as_reading out = { .fresh = AS_FRESH };
    for (int k = 0; k < f->count; k++) {
        const struct formula_op *op = &f->ops[k];
        double v = op->number;
        if (op->kind == FORMULA_READ && !take(op, inputs[op->metric], now, &out, &v))
            continue; /* go on: the reading tells the worst of all inputs */
        if (out.fresh != AS_FRESH)
            continue;
        if (op->kind == FORMULA_NUMBER || op->kind == FORMULA_READ) {
            stack[n++] = v;
        } else if (op->kind == FORMULA_NEG) {
            stack[n - 1] = -stack[n - 1];
        } else if (op->kind == FORMULA_MIN || op->kind == FORMULA_MAX) {
            n -= op->count - 1;
            stack[n - 1] = fold(op, &stack[n - 1]);
        } else {
            n--;
            stack[n - 1] = apply(op->kind, stack[n - 1], stack[n]);
        }
    }
    if (out.fresh == AS_FRESH && !isfinite(stack[0]))
        out.fresh = AS_NEVER; /* a division by zero says nothing */
    out.value = out.fresh == AS_FRESH ? stack[0] : 0;
    return out;
}
